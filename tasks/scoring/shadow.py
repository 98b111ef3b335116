"""A candidate in shadow forecasts beside the champion, night after night, before it is released.

One at a time: the first that passed its gates, until it is decided or the ledger goes on. Nothing is written down of
who it is; it follows from what is there: its run waits, its forecasts are kept, and nobody changed the ledger since.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from tasks.core.approval import WAITS
from tasks.core.documents import read_mapping
from tasks.core.errors import IntegrityError, NightstillError, UsageError
from tasks.core.files import RUN_FILE
from tasks.core.settings import Settings
from tasks.core.storage import ObjectStore, open_store
from tasks.pipeline.handover.queries import read_output
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.ledger import Entry
from tasks.releases.manifest import MODEL, sha256
from tasks.scoring.kept import Made, found_in_shadow, keep
from tasks.scoring.raw import Raw
from tasks.scoring.scorer import CONTRACT, FilesScorer, to_parquet

log = logging.getLogger(__name__)

WAY_OUT = "restore it from a copy; or pin and unpin the champion, which ends its time in shadow"


@dataclass(frozen=True)
class Candidate:
    """A Candidate is the winner of a run, as of a day, that waits. `champion`: the ledger entry that it compared with.

    `nights`: the key of the newest manifest of each day that it forecast, oldest day first; empty before its first.
    """

    run_id: str
    as_of: date
    champion: int
    created: str
    nights: Mapping[date, str]

    def stands(self, entries: Sequence[Entry]) -> bool:
        """Return whether nobody changed the ledger since it was compared."""
        return self.champion == len(entries)


def waiting(
    runs: ObjectStore, workload: str, run_ids: Iterable[str], nights: Mapping[str, Mapping[date, str]]
) -> list[Candidate]:
    """Return the candidates of these runs whose time in shadow is not over, the oldest first."""
    store, found = RunStore(runs), []
    for run_id in run_ids:
        manifest = store.manifest(workload, run_id, "promote")
        if manifest is None or not manifest.finished or manifest.summary.get("shadow") != WAITS:
            continue
        try:
            info = store.run_info(workload, run_id)
        except UsageError:  # tidied up
            continue
        as_of = date.fromisoformat(info["as_of"])
        found.append(Candidate(run_id, as_of, int(info["champion"]), str(info["created"]), nights.get(run_id, {})))
    return sorted(found, key=lambda one: (one.created, one.run_id))


def in_shadow(runs: ObjectStore, forecasts: ObjectStore, workload: str, entries: Sequence[Entry]) -> Candidate | None:
    """Return the candidate that forecasts beside the champion; None if there is none."""
    nights = found_in_shadow(forecasts, workload)
    return next((one for one in waiting(runs, workload, nights, nights) if one.stands(entries)), None)


@dataclass(frozen=True)
class Shadow:
    """A Shadow makes the forecasts of a workload's candidate in shadow. `entries`: its ledger."""

    settings: Settings
    workload: str
    entries: Sequence[Entry]

    @cached_property
    def forecasts(self) -> ObjectStore:
        """Return where forecasts are kept."""
        return open_store(self.settings.forecasts)

    def candidate(self, tonight: str) -> Candidate | None:
        """Return who is in shadow; where nobody is, the candidate of the run `tonight`, if it waits."""
        runs = self.settings.runs()
        if found := in_shadow(runs, self.forecasts, self.workload, self.entries):
            return found
        return next((one for one in waiting(runs, self.workload, [tonight], {}) if one.stands(self.entries)), None)

    def keep(self, raw: Raw, tonight: str) -> str:
        """Keep what the candidate in shadow says of a night's tables. Returns one line; empty where there is none.

        Its faults cost the night nothing: they are said, and the night does not count.
        """
        try:
            candidate = self.candidate(tonight)
            # What it says of days that it was trained on is no forecast.
            return self._keep(candidate, raw, tonight) if candidate and candidate.as_of <= raw.as_of else ""
        except Exception as error:
            if not isinstance(error, NightstillError):  # such as what a damaged run or its model makes a library say
                log.exception("the candidate in shadow made no forecasts")
            said = " ".join(str(error).split())[:300] or type(error).__name__
            return f"the candidate in shadow made none: {said}"

    def _keep(self, candidate: Candidate, raw: Raw, tonight: str) -> str:
        files = candidate_files(self.settings, self.workload, candidate.run_id)
        scorer = FilesScorer(files, named(self.workload, candidate.run_id))
        content, rows = to_parquet(iter([scorer.score(raw.tables, raw.as_of)]))
        champion = self.entries[-1]
        made = Made(
            workload=self.workload,
            as_of=raw.as_of,
            release=champion.release,
            manifest_sha256="",
            model_sha256=sha256(files[MODEL]),
            tables=raw.digests(),
            run_id=tonight,
            candidate=candidate.run_id,
        )
        done = keep(self.forecasts, content, rows, made)
        number = len({*candidate.nights, raw.as_of})
        said = "kept before, the same bytes" if done.again else "kept"
        return f"{self.forecasts.url(done.key)}: {rows:,} rows of the candidate in shadow (night {number}): {said}"


def named(workload: str, run_id: str) -> str:
    """Return what messages call a candidate."""
    return f"{workload}, the candidate of run {run_id}"


def candidate_files(settings: Settings, workload: str, run_id: str) -> dict[str, bytes]:
    """Return what scoring needs of a run's winner, by the names of a release's files.

    Raises IntegrityError when data of the run are gone, or its model is not the one that was judged.
    """
    store, where = RunStore(settings.runs()), named(workload, run_id)
    text = store.run_yaml(workload, run_id)
    verdict = json.loads(_output(settings, workload, run_id, ("evaluate",), "artifacts/evaluation/verdict.json"))
    path = f"{read_mapping(text, RUN_FILE)['code']['candidates']}/{verdict['winner']}/{MODEL}"
    makers = tuple(name for name in store.manifests(workload, run_id) if name.startswith(("compress@", "refit@")))
    model = _output(settings, workload, run_id, makers, path)
    if sha256(model) != verdict["winner_sha256"]:
        raise IntegrityError(f"{where}: {path} has not the bytes that evaluation judged; {WAY_OUT}")
    contract = _output(settings, workload, run_id, ("features",), f"artifacts/features/{CONTRACT}")
    return {RUN_FILE: text.encode(), CONTRACT: contract, MODEL: model}


def _output(settings: Settings, workload: str, run_id: str, stages: Sequence[str], path: str) -> bytes:
    for stage in stages:
        try:
            data = read_output(settings, workload, run_id, stage, path)
        except KeyError:  # another stage's, or lost
            continue
        if data is not None:
            return data
    raise IntegrityError(f"{named(workload, run_id)}: {path} is gone from {settings.dvc_remote}; {WAY_OUT}")
