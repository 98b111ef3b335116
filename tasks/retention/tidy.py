"""Old runs, their index, checkpoints, forecasts and data go; what a release, `reproduce` or a kept run needs stays.

It may be killed at any moment and started again: what points to a thing goes before the thing, and `run.json`, by which
a run is found, goes last. Data lie in one place for all workloads, so the locks of all are read before any goes.
What was written within the last two days stays in any case: a night under way has not said yet what it needs, and while
one is under way no data go. A marker in the DVC remote says which run store its data belong to.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from tasks.core.config import Spec
from tasks.core.documents import read_yaml
from tasks.core.errors import IntegrityError, NightstillError, NotYetError, UsageError
from tasks.core.params import NAME, find_sections
from tasks.core.settings import Settings
from tasks.core.storage import ObjectExists, ObjectStore, open_store
from tasks.pipeline.handover.locks import outputs
from tasks.pipeline.handover.manifest import run_key
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.problems import get_problem
from tasks.releases.origin import LOCK
from tasks.releases.standing import pruned, releases
from tasks.releases.store import ReleaseStore
from tasks.scoring.kept import SHADOW
from tasks.scoring.shadow import in_shadow
from tasks.watching.options import Watch

UNTOUCHED, UNDER_WAY = timedelta(days=2), timedelta(days=1)
BATCH = 300
"""Of data, before it is looked again at what nights need."""
MARKER = "nightstill-run-store.json"
FORECAST = re.compile(r"[^/]+/(\d{4}-\d\d-\d\d)/(\d+(?:-\d+)?)\.(json|parquet)")
READERS = 16


@dataclass(frozen=True)
class Tidying:
    """A Tidying lists the keys that go, in the order in which they go, by what they are; `kept`: runs that stay."""

    index: Sequence[str]
    checkpoints: Sequence[str]
    runs: Sequence[str]
    forecasts: Sequence[str]
    data: Sequence[str]
    removed_runs: int
    kept_runs: int

    def parts(self) -> Mapping[str, Sequence[str]]:
        """Return the keys by what they are."""
        return {
            "index": self.index,
            "checkpoints": self.checkpoints,
            "runs": self.runs,
            "forecasts": self.forecasts,
            "data": self.data,
        }


class Tidy:
    """A Tidy knows the stores of an installation. `keep`: the newest nights of each workload that stay."""

    def __init__(self, settings: Settings, keep: int, now: datetime | None = None) -> None:
        self.settings, self.keep = settings, keep
        self.now = now or datetime.now(UTC)
        self.before = self.now - UNTOUCHED
        self.runs, self.forecasts = settings.runs(), open_store(settings.forecasts)
        self.remote = open_store(settings.dvc_remote)

    def what_goes(self) -> Tidying:
        """Return what `remove` would remove.

        Raises UsageError when there is no run at all, or the data are another run store's; IntegrityError when a lock
        that is needed cannot be read, or a ledger does not have what a run says that it promoted: what is needed would
        not be known.
        """
        if not self.runs.names("runs"):
            raise UsageError(f"no run in {self.settings.run_store}: is NIGHTSTILL_RUN_STORE the one of these data?")
        self._require_own_data()
        index: list[str] = []
        checkpoints: list[str] = []
        runs: list[str] = []
        forecasts: list[str] = []
        going: dict[str, Collection[str]] = {}
        staying = 0
        for workload in self.runs.names("runs"):
            infos = RunStore(self.runs).runs(workload)
            gone = self._going(workload, infos)
            going[workload] = gone
            staying += len(infos) - len(gone)
            oldest = min((_day(info) for info in infos if info["run_id"] not in gone), default=None)
            index += self._index(workload, gone)
            checkpoints += self._checkpoints(workload)
            runs += [key for run_id in sorted(gone) for key in self._of_run(workload, run_id)]
            if oldest is not None:
                forecasts += self._forecasts(workload, infos, oldest)
            forecasts += self._in_shadow(workload, {info["run_id"] for info in infos} - gone)
        data = self._data(going)
        return Tidying(index, checkpoints, runs, forecasts, data, sum(map(len, going.values())), staying)

    def remove(self) -> Tidying:
        """Remove it, and return what went.

        Raises the errors of `what_goes`, and NotYetError when a night is under way: then all went but data.
        """
        found = self.what_goes()
        self._mark()
        for key in (*found.index, *found.checkpoints, *found.runs):
            self.runs.delete(key)
        for key in found.forecasts:
            self.forecasts.delete(key)
        # A night may have begun to use some of it meanwhile: only what still nobody needs.
        needed = self._needed({})
        data = [key for key in found.data if _digest(key) not in needed]
        for batch in (data[first : first + BATCH] for first in range(0, len(data), BATCH)):
            needed = self._needed_lately()
            for key in batch:
                if _digest(key) not in needed:
                    self.remote.delete(key)
        return found

    def _require_own_data(self) -> None:
        try:
            owner = json.loads(self.remote.read(MARKER))["run_store"]
        except KeyError:
            return
        if owner != self.runs.uri:
            raise UsageError(
                f"{self.remote.url(MARKER)}: these data belong to the run store {owner}, not to {self.runs.uri}; set "
                "NIGHTSTILL_RUN_STORE or NIGHTSTILL_DVC_REMOTE, or remove this file if the run store was moved"
            )

    def _mark(self) -> None:
        """Say in the DVC remote whose data it has, once."""
        try:
            self.remote.create(MARKER, json.dumps({"run_store": self.runs.uri}).encode())
        except ObjectExists:
            self._require_own_data()

    def _needed_lately(self) -> set[str]:
        """Return the digests that locks of the last two days name. Raises NotYetError when a night is under way."""
        written = self.runs.modified("runs/")
        own = [key for key in written if key.count("/") == 3]  # no pages
        ended = {_run(key) for key in own if key.endswith(("/report.json", ".failed.json"))}
        for key in own:
            if key.endswith("/run.json") and written[key] > self.now - UNDER_WAY and _run(key) not in ended:
                raise NotYetError(f"{_run(key)}: is under way, or was killed within the last day; no data go meanwhile")
        locks = [key for key in own if key.endswith(".lock") and written[key] >= self.before]
        return self._digests(_lock(self.runs, key) for key in locks)

    def _going(self, workload: str, infos: Sequence[Mapping[str, Any]]) -> set[str]:
        """Return the runs that go.

        They are not among the newest, no stage of theirs ended within two days, no release names them, and no run that
        stays uses them.
        """
        old = {info["run_id"] for info in infos[: -self.keep] if datetime.fromisoformat(info["created"]) < self.before}
        written = self.runs.modified(f"runs/{workload}/") if old else {}
        old -= {key.split("/")[2] for key, when in written.items() if key.endswith(".json") and when >= self.before}
        store = ReleaseStore(self.settings.releases(), workload)
        entries = store.ledger.entries()
        asked = old if entries else {info["run_id"] for info in infos}
        self._require_in_ledger(workload, asked, {entry.run_id for entry in entries})
        gone = pruned(entries)
        old -= {entry.run_id for number, entry in releases(entries).items() if number not in gone}
        if shadow := in_shadow(self.runs, self.forecasts, workload, entries):
            old -= {shadow.run_id, *self._evenings(shadow.nights.values())}
        staying = [info["run_id"] for info in infos if info["run_id"] not in old]
        while staying:  # a reused stage's pages and times are those of the run that made it
            manifests = [one for run in staying for one in RunStore(self.runs).manifests(workload, run).values()]
            staying = [run for run in {one.reused_from for one in manifests} if run in old]
            old -= {*staying}
        return old

    def _evenings(self, keys: Iterable[str]) -> Iterator[str]:
        """Yield the runs whose snapshots kept forecasts were made of: truth is compared with what was known then."""
        for key in keys:
            with suppress(KeyError):
                yield str(json.loads(self.forecasts.read(key)).get("run_id", ""))

    def _require_in_ledger(self, workload: str, runs: Collection[str], promoted: Collection[str]) -> None:
        for run_id in sorted(runs):
            found = RunStore(self.runs).manifest(workload, run_id, "promote")
            said = found is not None and found.summary.get("outcome") == "promoted"
            if found and said and (found.reused_from or run_id) not in promoted:
                raise IntegrityError(
                    f"{workload}: run {run_id} promoted a release, but {self.settings.release_store} has no ledger "
                    "entry of it: is NIGHTSTILL_RELEASE_STORE right?"
                )

    def _index(self, workload: str, gone: Collection[str]) -> Iterator[str]:
        for key in self.runs.keys(f"index/{workload}/"):
            try:
                named = json.loads(self.runs.read(key)).get("run_id")
            except KeyError:  # removed by another tidying
                continue
            if named in gone:
                yield key

    def _checkpoints(self, workload: str) -> Iterator[str]:
        """Yield checkpoints that no training has written to for days."""
        newest: dict[str, datetime] = {}
        found = self.runs.modified(f"checkpoints/{workload}/")
        for key, when in found.items():
            stem = "/".join(key.split("/")[:4])
            newest[stem] = max(newest.get(stem, when), when)
        yield from (key for key in sorted(found) if newest["/".join(key.split("/")[:4])] < self.before)

    def _of_run(self, workload: str, run_id: str) -> list[str]:
        """Return the keys of a run: manifests before the locks that they vouch for, run.json last."""

        def place(key: str) -> int:
            name = key.rpartition("/")[2]
            return 3 if name == "run.json" else 2 if name == "run.yaml" else 0 if name.endswith(".json") else 1

        return sorted(self.runs.keys(run_key(workload, run_id) + "/"), key=lambda key: (place(key), key))

    def _forecasts(self, workload: str, infos: Sequence[Mapping[str, Any]], oldest: date) -> Iterator[str]:
        """Yield forecasts of days before the oldest night that stays: manifests first, which make them forecasts.

        Those stay whose truth the watch may still ask for; without their manifest, what a killed tidying left goes.
        """
        if (watched := self._watched(workload, infos)) is None:
            return
        written = self.forecasts.modified(f"{workload}/")
        old = [key for key in sorted(written) if written[key] < self.before and FORECAST.fullmatch(key)]
        days = {key: date.fromisoformat(key.split("/")[1]) for key in old}
        mine = [key for key in old if days[key] < min(oldest, watched)]
        yield from sorted(mine, key=lambda key: (days[key], not key.endswith(".json"), key))

    def _in_shadow(self, workload: str, staying: Collection[str]) -> Iterator[str]:
        """Yield forecasts of candidates whose runs do not stay, manifests first: evidence of them lies elsewhere."""
        written = self.forecasts.modified(f"{SHADOW}/{workload}/")
        old = [key for key in written if written[key] < self.before and key.split("/")[2] not in staying]
        yield from sorted(old, key=lambda key: (not key.endswith(".json"), key))

    def _watched(self, workload: str, infos: Sequence[Mapping[str, Any]]) -> date | None:
        """Return the first day of whose forecasts the watch may ask; None if it is not known.

        It is a horizon before the window that ends on the newest night's day.
        """
        newest = max(infos, key=_day)
        try:
            section = find_sections(self.settings.params).get(workload)
            watch = Watch.model_validate((section.section if section else {}).get("watch") or {})
            run = read_yaml(self.runs.read(run_key(workload, newest["run_id"], "run.yaml")))
            ahead = get_problem(Spec.model_validate(run["problem"])).last_day(_day(newest)) - _day(newest)
        except (KeyError, ValidationError, NightstillError):  # such as a kind whose package is not installed any more
            return None
        return _day(newest) - timedelta(days=watch.days) - ahead

    def _data(self, going: Mapping[str, Collection[str]]) -> list[str]:
        """Return the keys of data that no run which stays, and no release, names."""
        needed = self._needed(going)
        found = self.remote.modified("files/md5/")
        return [key for key in sorted(found) if _digest(key) not in needed and found[key] < self.before]

    def _needed(self, going: Mapping[str, Collection[str]]) -> set[str]:
        """Return the digests that the locks of runs that stay and of releases name, with the files of folders."""
        return self._digests([*self._locks_of_runs(going), *self._locks_of_releases()])

    def _digests(self, locks: Iterable[Mapping[str, Any]]) -> set[str]:
        """Return the digests that locks name, with the files of folders."""
        found: set[str] = set()
        for lock in locks:
            found |= {*outputs(lock).values()}
        remote = DataRemote(self.remote)
        with ThreadPoolExecutor(READERS) as pool:
            for tree in pool.map(
                lambda digest: _tree(remote, digest), [each for each in found if each.endswith(".dir")]
            ):
                found |= tree
        return found

    def _locks_of_runs(self, going: Mapping[str, Collection[str]]) -> Iterator[Mapping[str, Any]]:
        for workload in self.runs.names("runs"):
            for run_id in self.runs.names(f"runs/{workload}"):
                if run_id in going.get(workload, ()):
                    continue
                folder = run_key(workload, run_id)
                for name in self.runs.names(folder):
                    if name.endswith(".lock"):
                        yield _lock(self.runs, f"{folder}/{name}")

    def _locks_of_releases(self) -> Iterator[Mapping[str, Any]]:
        store = self.settings.releases()
        for workload in filter(NAME.fullmatch, store.names("")):
            mine = ReleaseStore(store, workload)
            entries = mine.ledger.entries()
            gone = pruned(entries)
            for number, entry in releases(entries).items():
                if number not in gone and LOCK in mine.files(entry):
                    yield from read_yaml(mine.read(entry, LOCK))["stages"].values()


def _day(info: Mapping[str, Any]) -> date:
    return date.fromisoformat(info["as_of"])


def _run(key: str) -> str:
    """Return the workload and the run of a key below `runs/`."""
    return "/".join(key.split("/")[1:3])


def _digest(key: str) -> str:
    return "".join(key.split("/")[-2:])


def _lock(store: ObjectStore, key: str) -> Mapping[str, Any]:
    try:
        found = read_yaml(store.read(key))
    except KeyError:  # removed by another tidying
        return {}
    if not isinstance(found, Mapping):
        raise IntegrityError(
            f"{store.url(key)}: not a lock, so what it needs is not known; restore it or remove its run"
        )
    return found


def _tree(remote: DataRemote, digest: str) -> set[str]:
    try:
        return {entry["md5"] for entry in remote.tree(digest)}
    except KeyError:  # lost before
        return set()
