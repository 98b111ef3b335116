"""A regression is a champion whose live error is higher than the gates measured, or than its predecessor's would be."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

import polars as pl

from tasks.core.storage import ObjectStore
from tasks.gates.comparison import Comparison
from tasks.gates.result import rounded
from tasks.releases.ledger import Entry
from tasks.releases.pins import pin
from tasks.releases.standing import before_champion, pinned_by
from tasks.releases.store import ReleaseStore
from tasks.watching.join import Joined
from tasks.watching.measure import FEW_BLOCKS, RESAMPLES, against, span
from tasks.watching.options import Watch
from tasks.watching.record import ROOT, Recorded, create

Opponent = Literal["former", "gates"]
Outcome = Literal["fine", "regression", "held", "rolled-back"]
VERDICT = "verdict.json"


@dataclass(frozen=True)
class Regression:
    """A Regression is measured on `rows` of truth from `first` to `last`.

    `against`: the former champion on the same rows, or `times` the naive forecast's error on them, which is the upper
    end of what the gates measured.
    """

    release: int
    against: Opponent
    times: float
    comparison: Comparison
    rows: int
    first: date
    last: date

    def __str__(self) -> str:
        named = {"former": "the former champion", "gates": f"{self.times:.3g} times the naive forecast's, as gated"}
        days = f"{self.rows:,} rows, {self.first} to {self.last}"
        return f"live error against {named[self.against]}: {self.comparison}, {days}"


@dataclass(frozen=True)
class Decision:
    """A Decision is what was done about it. `reason`: one line; `evidence`: key of the file that shows it."""

    outcome: Outcome
    reason: str
    evidence: str = ""


def gated(releases: ReleaseStore, entry: Entry) -> float | None:
    """Return the share of the naive error that the gates measured for a release at most: their interval's upper end."""
    if VERDICT not in releases.files(entry):
        return None
    comparison: Mapping[str, Any] = json.loads(releases.read(entry, VERDICT)).get("comparison") or {}
    high = (comparison.get("naive") or {}).get("high")
    return None if high is None else 1 + float(high)


def find(joined: Joined, release: int, watch: Watch, share: float | None) -> Regression | None:
    """Return the regression of a release, if there is one; of two, the one that is surer.

    `share`: what `gated` says, which is compared with on days alone that have the truth of forecasts of every step.
    Nothing is said of fewer than five days of truth.
    """
    found: list[Regression] = []
    opponents: list[tuple[Opponent, str, float]] = [("former", "former", 1.0)]
    opponents += [("gates", "naive", share)] if share and share > 0 else []
    for opponent, column, times in opponents:
        rows = joined.rows.filter(release=release).drop_nulls(column).sort("day", "entity", "step", "as_of")
        if opponent == "gates":  # they measured all steps alike, and the first evenings' truth is of the nearest alone
            rows = rows.filter(pl.col("step").max().over("day") >= pl.col("steps"))
        if rows["day"].n_unique() < FEW_BLOCKS:
            continue
        comparison = against(rows, column, joined.exponent, watch.confidence, RESAMPLES, times)
        if comparison is not None and comparison.low > watch.margin:
            found.append(Regression(release, opponent, times, comparison, rows.height, *span(rows)))
    return max(found, key=lambda one: one.comparison.low, default=None)


def evidence(
    store: ObjectStore, workload: str, regression: Regression, joined: Joined, watch: Watch, recorded: Recorded
) -> str:
    """Write what shows a regression, named by its content, with the files to ask and the query. Returns its key."""
    files = [recorded.files[day] for day in sorted(recorded.files) if regression.first <= day <= regression.last]
    column = "former" if regression.against == "former" else "naive"
    other = f"{regression.times!r} * power(sum({column}) / sum(weight), {joined.exponent!r})"
    query = (
        f"SELECT sum(rows) AS rows, power(sum(loss) / sum(weight), {joined.exponent!r}) / ({other}) - 1 "  # noqa: S608
        f"AS difference "
        f"FROM watched WHERE release = {regression.release} AND part = 'all' AND {column} IS NOT NULL"
    )
    measured = {name: rounded(value) for name, value in asdict(regression.comparison).items()}
    told = {
        **{name: value for name, value in asdict(regression).items() if name != "comparison"},
        **measured,
        "workload": workload,
        "metric": joined.metric,
        "margin": watch.margin,
        "query": query,
        "watched": [store.url(file) for file in files],
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    key = f"{ROOT}/{workload}/evidence/{regression.release}-{digest[:16]}.json"
    create(store, key, told)
    return key


def decide(
    releases: ReleaseStore, entries: Sequence[Entry], regression: Regression, watch: Watch, key: str
) -> Decision:
    """Do what the section asks for, at most once a release, and nothing to a champion that is pinned.

    `entries`: the ledger that the regression was measured under. Raises Superseded when it has another entry since, and
    what `rollback` and `pin` raise.
    """
    told, name = str(regression), f"watch-{regression.release}"
    reason = f"watch: {told}; evidence {key}"
    done = next((entry for entry in entries if entry.run_id == name), None)
    if watch.on_regression == "notify":
        return Decision("regression", told, key)
    if done is not None:
        return Decision("regression", f"{told}; ledger entry {done.seq} acted on this release before", key)
    if entry := pinned_by(entries):
        return Decision("regression", f"{told}; nothing is done, for ledger entry {entry.seq} pins it", key)
    if watch.on_regression == "hold":
        pin(releases, reason, name, expected=len(entries))
        return Decision("held", told, key)
    if before_champion(entries) is None:
        return Decision("regression", f"{told}; there is no release to go back to", key)
    back = releases.rollback(None, reason, name, expected=len(entries))
    return Decision("rolled-back", f"{told}; release {back.release} is champion again", key)
