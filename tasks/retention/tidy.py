"""Old runs, their index, checkpoints, forecasts and data go; what a release, `reproduce` or a kept run needs stays.

It may be killed at any moment and started again: what points to a thing goes before the thing, and `run.json`, by which
a run is found, goes last. Data lie in one place for all workloads, so the locks of all are read before any goes.
What was written within the last two days stays in any case: a night under way has not said yet what it needs.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tasks.core.documents import read_yaml
from tasks.core.errors import IntegrityError, UsageError
from tasks.core.params import NAME
from tasks.core.settings import Settings
from tasks.core.storage import ObjectStore, open_store
from tasks.pipeline.handover.locks import outputs
from tasks.pipeline.handover.manifest import run_key
from tasks.pipeline.handover.run_store import DataRemote, RunStore
from tasks.releases.origin import LOCK
from tasks.releases.standing import pruned, releases
from tasks.releases.store import ReleaseStore
from tasks.scoring import kept

UNTOUCHED = timedelta(days=2)
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
        self.before = (now or datetime.now(UTC)) - UNTOUCHED
        self.runs, self.forecasts = settings.runs(), open_store(settings.forecasts)
        self.remote = open_store(settings.dvc_remote)

    def what_goes(self) -> Tidying:
        """Return what `remove` would remove.

        Raises UsageError when there is no run at all, IntegrityError when a lock that is needed cannot be read, or a
        ledger is not there though a run says that it promoted: what is needed would not be known.
        """
        if not self.runs.names("runs"):
            raise UsageError(f"no run in {self.settings.run_store}: is NIGHTSTILL_RUN_STORE the one of these data?")
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
            if gone and oldest is not None:
                forecasts += self._forecasts(workload, oldest)
        data = self._data(going)
        return Tidying(index, checkpoints, runs, forecasts, data, sum(map(len, going.values())), staying)

    def remove(self) -> Tidying:
        """Remove it, and return what went."""
        found = self.what_goes()
        for key in (*found.index, *found.checkpoints, *found.runs):
            self.runs.delete(key)
        for key in found.forecasts:
            self.forecasts.delete(key)
        # A night may have begun to use some of it meanwhile: only what still nobody needs.
        needed = self._needed({})
        for key in found.data:
            if _digest(key) not in needed:
                self.remote.delete(key)
        return found

    def _going(self, workload: str, infos: Sequence[Mapping[str, Any]]) -> set[str]:
        """Return the runs that go: not among the newest, named by no release, used by no run that stays."""
        old = {info["run_id"] for info in infos[: -self.keep] if datetime.fromisoformat(info["created"]) < self.before}
        store = ReleaseStore(self.settings.releases(), workload)
        entries = store.ledger.entries()
        if not entries:
            self._require_no_promotion(workload, infos)
        gone = pruned(entries)
        old -= {entry.run_id for number, entry in releases(entries).items() if number not in gone}
        staying = [info["run_id"] for info in infos if info["run_id"] not in old]
        while staying:  # a reused stage's pages and times are those of the run that made it
            manifests = [one for run in staying for one in RunStore(self.runs).manifests(workload, run).values()]
            staying = [run for run in {one.reused_from for one in manifests} if run in old]
            old -= {*staying}
        return old

    def _require_no_promotion(self, workload: str, infos: Sequence[Mapping[str, Any]]) -> None:
        for info in infos:
            promoted = RunStore(self.runs).manifest(workload, info["run_id"], "promote")
            if promoted and promoted.summary.get("outcome") == "promoted":
                raise IntegrityError(
                    f"{workload}: run {info['run_id']} promoted a release, but {self.settings.release_store} has no "
                    "ledger of it: is NIGHTSTILL_RELEASE_STORE right?"
                )

    def _index(self, workload: str, gone: Collection[str]) -> Iterator[str]:
        for key in self.runs.keys(f"index/{workload}/"):
            if json.loads(self.runs.read(key)).get("run_id") in gone:
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

    def _forecasts(self, workload: str, oldest: date) -> Iterator[str]:
        """Yield forecasts of days before the oldest night that stays: manifests first, which make them forecasts."""
        for found in kept.found(self.forecasts, workload):
            if found.as_of < oldest:
                keys = [*self.forecasts.keys(f"{workload}/{found.as_of}/{found.release}")]
                mine = [
                    key
                    for key in keys
                    if (name := kept.NAME.fullmatch(_manifest(key))) and int(name[2]) == found.release
                ]
                yield from sorted(mine, key=lambda key: (not key.endswith(".json"), key))

    def _data(self, going: Mapping[str, Collection[str]]) -> list[str]:
        """Return the keys of data that no run which stays, and no release, names."""
        needed = self._needed(going)
        found = self.remote.modified("files/md5/")
        return [key for key in sorted(found) if _digest(key) not in needed and found[key] < self.before]

    def _needed(self, going: Mapping[str, Collection[str]]) -> set[str]:
        """Return the digests that the locks of runs that stay and of releases name, with the files of folders."""
        texts = [*self._locks_of_runs(going), *self._locks_of_releases()]
        found: set[str] = set()
        for lock in texts:
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


def _digest(key: str) -> str:
    return "".join(key.split("/")[-2:])


def _manifest(key: str) -> str:
    return f"{key.rpartition('.')[0]}.json"


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
