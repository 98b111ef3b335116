"""A regression is a champion whose live error is higher than the gates measured, or than its predecessor's would be."""

import hashlib
import json
import re
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
NAME = re.compile(r"watch-(\d+)")
EVIDENCE = "; evidence "


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


def better(joined: Joined, release: int, former: int) -> bool:
    """Return whether a former release is known to have a lower live error than `release` on the same rows."""
    rows = joined.rows.filter(release=release, former_release=former).drop_nulls("former")
    return bool(rows["loss"].sum() > rows["former"].sum())


def last_rollback(entries: Sequence[Entry]) -> tuple[int, Decision] | None:
    """Return the release that a watch rolled back, and that decision; None if the last entry is anything else."""
    last = entries[-1]
    if last.kind != "rollback" or not (name := NAME.fullmatch(last.run_id)):
        return None
    reason, _, key = last.reason.removeprefix("watch: ").partition(EVIDENCE)
    return int(name[1]), Decision("rolled-back", f"{reason}; release {last.release} is champion again", key)


def decide(
    releases: ReleaseStore,
    entries: Sequence[Entry],
    regression: Regression,
    joined: Joined,
    watch: Watch,
    key: str,
) -> Decision:
    """Do what the section asks for, at most once a release, and nothing to a champion that is pinned.

    It goes back only to a release that does better on the same rows: where the truth itself has changed, as after a
    shock, the release before it would do no better. `entries`: the ledger that the regression was measured under.
    Raises Superseded when it has another entry since, and what `rollback` and `pin` raise.
    """
    told, name = str(regression), f"watch-{regression.release}"
    pinned = pinned_by(entries)
    if pinned is not None and pinned.run_id == name:
        return Decision("held", f"{told}; ledger entry {pinned.seq} holds it since", key)
    if watch.on_regression == "notify":
        return Decision("regression", told, key)
    if why := _nothing_done(entries, regression, joined, watch):
        return Decision("regression", told + why, key)
    reason = f"watch: {told}{EVIDENCE}{key}"
    if watch.on_regression == "hold":
        pin(releases, reason, name, expected=len(entries))
        return Decision("held", told, key)
    back = releases.rollback(None, reason, name, expected=len(entries))
    return Decision("rolled-back", f"{told}; release {back.release} is champion again", key)


def _nothing_done(entries: Sequence[Entry], regression: Regression, joined: Joined, watch: Watch) -> str | None:
    """Return why nothing is done about a regression, None if something is."""
    done = next((entry for entry in entries if entry.run_id == f"watch-{regression.release}"), None)
    if done is not None:
        return f"; ledger entry {done.seq} acted on this release before"
    if entry := pinned_by(entries):
        return f"; nothing is done, for ledger entry {entry.seq} pins it"
    if watch.on_regression == "hold":
        return None
    before = before_champion(entries)
    if before is None:
        return "; there is no release to go back to"
    return None if better(joined, regression.release, before.release) else "; the release before it is no better"
