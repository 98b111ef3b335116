"""One look after a night: what came of the forecasts, what is kept of it, and what is done about a regression."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from tasks.core.errors import NotYetError
from tasks.core.settings import Settings
from tasks.core.storage import ObjectStore, open_store
from tasks.scoring.night import release_store
from tasks.scoring.raw import Raw
from tasks.watching.join import Watched
from tasks.watching.measure import Live, live_errors
from tasks.watching.options import Watch
from tasks.watching.record import record
from tasks.watching.regression import Decision, decide, evidence, find, gated, last_rollback


@dataclass(frozen=True)
class Evening:
    """An Evening is the report of one look, as `watch/<workload>/<until>.json` of the run store has it.

    `champion`: the release that is watched for a regression; `run_id`: of the run that made it.
    """

    workload: str
    until: date
    metric: str
    champion: int
    run_id: str
    live: Sequence[Live]
    decision: Decision
    corrected: Sequence[date]
    notes: Sequence[str]

    def of_champion(self) -> Live | None:
        """Return the champion's live error over all rows; None if there is no truth of its forecasts yet."""
        return next((one for one in self.live if (one.release, one.part) == (self.champion, "all")), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; those of a result manifest too, by which every runner hands on a result."""
        return {
            "stage": "watch",
            "status": "done",
            "summary": {"outcome": self.decision.outcome, "told": self.decision.reason, "watched": str(self.champion)},
            "workload": self.workload,
            "until": str(self.until),
            "metric": self.metric,
            "champion": self.champion,
            "run_id": self.run_id,
            "outcome": self.decision.outcome,
            "reason": self.decision.reason,
            "evidence": self.decision.evidence,
            "corrected": [str(day) for day in self.corrected],
            "notes": list(self.notes),
            "live": [one.to_json() for one in self.live],
        }


def report_key(workload: str, until: date) -> str:
    """Return the key of a report in the run store."""
    return f"watch/{workload}/{until}.json"


def watch(settings: Settings, workload: str, raw: Raw, options: Watch) -> Evening:
    """Measure, keep and act. Doing it again on the same tables writes the same.

    A rollback that a killed watch did not tell of is told by the next one.

    Raises NotYetError while there is no release, or no forecast of which any truth has come; Superseded when somebody
    else changed the ledger meanwhile; ConfigError where a kind of learning cannot be watched.
    """
    releases, store = release_store(settings, workload), open_store(settings.forecasts)
    watched = Watched(settings, store, releases, workload, raw)
    if not watched.entries:
        raise NotYetError(f"{workload}: no release yet, so nothing to watch")
    joined = watched.joined(options.days)
    if joined is None:
        why = "".join(f"; {note}" for note in watched.notes)
        raise NotYetError(
            f"{workload}: no truth has come of a kept forecast on the {options.days} days up to {raw.as_of}{why}"
        )
    recorded = record(store, workload, joined)
    # All that may fail comes before what is done: only the report is written after it.
    live = live_errors(joined, options.confidence)
    champion = watched.entries[-1].release
    decision = Decision("fine", "no regression")
    done = last_rollback(watched.entries)
    if done and done[0] not in _told(settings.runs(), workload):  # a watch was killed before its report
        champion, decision = done
    else:
        share = gated(releases, watched.entries[-1]) if joined.as_gated else None
        regression = find(joined, champion, options, share)
        if regression is not None:
            key = evidence(store, workload, regression, joined, options, recorded)
            decision = decide(releases, watched.entries, regression, joined, options, key)
    evening = Evening(
        workload,
        raw.as_of,
        joined.metric,
        champion,
        next(entry.run_id for entry in watched.entries if (entry.kind, entry.release) == ("promote", champion)),
        live,
        decision,
        recorded.corrected,
        joined.notes,
    )
    _write(settings.runs(), evening)
    return evening


def _write(store: ObjectStore, evening: Evening) -> None:
    """Write the report; one that acted is not replaced by a later look at the same day, which has nothing to do."""
    key = report_key(evening.workload, evening.until)
    before = read(store, key)
    if before and before["outcome"] in ("held", "rolled-back") and before["champion"] != evening.champion:
        return
    store.write(key, (json.dumps(evening.to_json(), indent=1) + "\n").encode())


def _told(store: ObjectStore, workload: str) -> set[int]:
    """Return the releases of whose rollback a report tells."""
    found = (read(store, key) for key in store.keys(f"watch/{workload}/"))
    return {int(one["champion"]) for one in found if one and one["outcome"] == "rolled-back"}


def read(store: ObjectStore, key: str) -> Mapping[str, Any] | None:
    """Return a report, None if there is none."""
    try:
        found: Mapping[str, Any] = json.loads(store.read(key))
    except KeyError:
        return None
    return found
