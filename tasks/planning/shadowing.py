"""The end of a candidate's nights in shadow: its run is brought to its end once more, with what they showed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from tasks.config.run import Run, parse_run
from tasks.config.workload import Workload
from tasks.core.approval import WAITS, Answer
from tasks.core.errors import ConfigError, NightstillError, NotYetError, UnavailableError
from tasks.core.settings import Settings
from tasks.core.storage import ObjectStore, open_store
from tasks.pipeline.handover.run_stage import run_stage
from tasks.pipeline.handover.run_store import RunStore
from tasks.planning.approving import keep_answer, report_again
from tasks.releases.ledger import Entry
from tasks.releases.manifest import MODEL, sha256
from tasks.scoring.kept import found_in_shadow
from tasks.scoring.night import release_store
from tasks.scoring.raw import Raw
from tasks.scoring.scorer import FilesScorer
from tasks.scoring.shadow import Candidate, candidate_files, named, waiting
from tasks.watching.regression import EVIDENCE
from tasks.watching.shadow import Beside, Judgement, evidence, is_late, judge

OPEN = "in-shadow"
MOST_TELLING = ("promoted", "held", "rejected", "superseded", OPEN)


@dataclass(frozen=True)
class Settled:
    """A Settled tells what became of one candidate. `outcome`: as promotion has it, or `in-shadow` while it goes on.

    `nights`: of which forecasts are kept, of the `of` that are asked for. `notes`: nights that do not count, and why.
    """

    workload: str
    run_id: str
    until: date
    outcome: str
    reason: str
    nights: int
    of: int
    evidence: str = ""
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values; those of a result manifest too, by which every runner hands on a result."""
        return {
            "stage": "shadow",
            "status": "done",
            "summary": {"outcome": self.outcome, "told": self.reason, "watched": self.run_id},
            "workload": self.workload,
            "run_id": self.run_id,
            "until": str(self.until),
            "reason": self.reason,
            "nights": self.nights,
            "of": self.of,
            "evidence": self.evidence,
            "notes": list(self.notes),
        }


def day_key(workload: str, until: date) -> str:
    """Return the key, in the run store, of what became of candidates up to a day of truth."""
    return f"shadow/{workload}/days/{until}.json"


def settle(settings: Settings, workload: str, section: Workload, until: date, read: Callable[[], Raw]) -> Settled:
    """Judge the candidate in shadow by the truth up to a day, and release or refuse it once its nights are over.

    `read` returns the tables as of that day; it is called where somebody is to be judged.
    One that the ledger went on without is superseded. What a killed attempt left half done is brought to its end, and
    told. Doing it again does nothing twice, and tells what was told of that day. Raises NotYetError when nobody is in
    shadow, ConfigError where the section asks for no shadow, and what `read` and `run_stage` raise.
    """
    if not section.shadow_nights:
        raise ConfigError(f"workloads.{workload}.shadow_nights: not set, so no candidate is in shadow")
    return Shadows(settings, workload, section, until, read).settle()


@dataclass
class Shadows:
    """Shadows are the candidates of a workload that forecast beside a champion and of which nobody has told the end."""

    settings: Settings
    workload: str
    section: Workload
    until: date
    read: Callable[[], Raw]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def forecasts(self) -> ObjectStore:
        """Return where forecasts are kept."""
        return open_store(self.settings.forecasts)

    @cached_property
    def runs(self) -> RunStore:
        """Return the run store."""
        return RunStore(self.settings.runs())

    @cached_property
    def entries(self) -> Sequence[Entry]:
        """Return the ledger."""
        return release_store(self.settings, self.workload).ledger.entries()

    def settle(self) -> Settled:
        """Settle every candidate that is not told to be over, and return what is most worth telling."""
        nights = found_in_shadow(self.forecasts, self.workload)
        untold = [run_id for run_id in nights if not self.runs.store.exists(self._key(run_id))]
        # Who waits is not over, whatever was told of it: a run that was repeated may have another winner.
        candidates = waiting(self.runs.store, self.workload, nights, nights)
        first = next((one for one in candidates if one.stands(self.entries)), None)
        # Before the others, whose faults are none of its own.
        ended: list[Settled | None] = [self._judged(first)] if first else []
        ended += [self._ended(run_id, nights[run_id]) for run_id in untold]
        ended += [self._overtaken(one) for one in candidates if one.run_id in untold and not one.stands(self.entries)]
        found = [one for one in ended if one]
        # An end that was told may have been lost on its way: whoever asks again on that day hears of it again.
        told = found if any(one.outcome != OPEN for one in found) else [*found, *self._told()]
        if not told:
            raise NotYetError(f"{self.workload}: no candidate is in shadow")
        best = min(told, key=lambda one: MOST_TELLING.index(one.outcome))
        self.runs.store.write(day_key(self.workload, self.until), _bytes(best))
        for one in found:  # last: whoever is killed before it tells it again
            if one.outcome != OPEN:
                self.runs.store.write(self._key(one.run_id), _bytes(one))
        return best

    def _told(self) -> list[Settled]:
        """Return the end of a candidate that was told of this day before; empty if none was."""
        try:
            told = json.loads(self.runs.store.read(day_key(self.workload, self.until)))
        except KeyError:
            return []
        settled = Settled(
            told["workload"],
            told["run_id"],
            self.until,
            told["summary"]["outcome"],
            told["reason"],
            told["nights"],
            told["of"],
            told["evidence"],
            tuple(told["notes"]),
        )
        return [settled] if settled.outcome != OPEN else []

    def _ended(self, run_id: str, nights: Mapping[date, str]) -> Settled | None:
        """Return how a run ended of which nobody was told: an attempt was killed, or people decided; else None."""
        manifest = self.runs.manifest(self.workload, run_id, "promote")
        if manifest is None or not manifest.finished or manifest.summary.get("shadow") == WAITS:
            return None
        if manifest.summary["outcome"] not in MOST_TELLING:
            return None
        return self._settled(run_id, nights, manifest.summary["outcome"], manifest.summary["reason"])

    def _overtaken(self, one: Candidate) -> Settled | None:
        """End a candidate that the ledger went on without, or whose own entry is there and its run does not say so."""
        after = self.entries[one.champion] if one.champion < len(self.entries) else None
        ours = after is not None and (after.kind, after.run_id) == ("promote", one.run_id)
        try:
            if not ours and self._run(one).answer is not None:
                why = f"its {len(one.nights)} nights in shadow are of no use any more"
                self._answer(one, Answer(decision="shadow", by="", reason=why))
            return self._promoted(one)
        except UnavailableError:
            raise
        except NightstillError as error:  # the ledger has said it all, and what is lost must not keep the others
            return self._settled(one.run_id, one.nights, "promoted" if ours else "superseded", str(error))

    def _judged(self, one: Candidate) -> Settled:
        """Judge who is in shadow, and do what follows."""
        files = candidate_files(self.settings, self.workload, one.run_id)
        scorer = FilesScorer(files, named(self.workload, one.run_id))
        beside = Beside(
            self.settings,
            self.forecasts,
            self.workload,
            self.entries[-1].release,
            scorer,
            self.read(),
            sha256(files[MODEL]),
            self.notes,
        )
        both = beside.joined(one.nights)
        watch, asked = self.section.watch, self.section.shadow_nights
        late = is_late(beside.evenings(one.as_of), self.until, asked, watch, scorer.problem)
        judgement = judge(both, asked, watch, late=late)
        if judgement.outcome == "open":
            return self._settled(one.run_id, one.nights, OPEN, judgement.reason)
        shown = evidence(self.forecasts, self.workload, one.run_id, both, judgement, watch) if both else ""
        told = f"{judgement.reason}{EVIDENCE}{shown}" if shown else judgement.reason
        answer = self._decided(one, judgement, told)
        self._answer(one, answer.model_copy(update={"winner": beside.model_sha256}))
        return self._promoted(one, shown)

    def _decided(self, one: Candidate, judgement: Judgement, told: str) -> Answer:
        """Return the answer to the run's question that its nights in shadow give."""
        if judgement.outcome == "refused":
            return Answer(decision="reject", by="", reason=told)
        if asked := self._run(one).approval:
            why = f"waits for the approval of {' or '.join(asked.by)}; {told}"
            return Answer(decision="hold", by="", reason=why, shadow=told)
        return Answer(decision="approve", by="", reason="", shadow=told)

    def _answer(self, one: Candidate, answer: Answer) -> None:
        keep_answer(self.runs, self.workload, one.run_id, answer)

    def _promoted(self, one: Candidate, shown: str = "") -> Settled:
        summary = run_stage(self.settings, self.workload, one.run_id, "promote").manifest.summary
        if lost := report_again(self.settings, self.workload, one.run_id):
            self.notes.append(lost)
        return self._settled(one.run_id, one.nights, summary["outcome"], summary["reason"], shown)

    def _run(self, one: Candidate) -> Run:
        return parse_run(self.runs.run_yaml(self.workload, one.run_id))

    def _settled(self, run_id: str, nights: Mapping[date, str], outcome: str, reason: str, shown: str = "") -> Settled:
        of = self.section.shadow_nights
        return Settled(self.workload, run_id, self.until, outcome, reason, len(nights), of, shown, tuple(self.notes))

    def _key(self, run_id: str) -> str:
        """Return the key of what says that a candidate's end was told."""
        return f"shadow/{self.workload}/ended/{run_id}.json"


def _bytes(settled: Settled) -> bytes:
    return (json.dumps(settled.to_json(), indent=1) + "\n").encode()
