"""What came of a candidate in shadow: its forecasts against the champion's of the same evenings, row by row."""

import contextlib
import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import cached_property, partial
from typing import Any, Literal

import polars as pl

from tasks.core.errors import DataError, IntegrityError, NotYetError, UsageError
from tasks.core.settings import Settings
from tasks.core.storage import ObjectExists, ObjectStore
from tasks.gates.comparison import Comparison
from tasks.gates.result import rounded
from tasks.problems.base import Outcomes, Problem, Since
from tasks.scoring import kept
from tasks.scoring.raw import Raw, of_run
from tasks.scoring.scorer import FilesScorer
from tasks.tables.table import Tables
from tasks.watching.measure import FEW_BLOCKS, RESAMPLES, against, span
from tasks.watching.options import Watch
from tasks.watching.record import DIGITS, ROOT, create, parquet

KEYS = ("entity", "day", "step")
CHAMPION = "champion"
PATIENCE = 2
"""So many times the nights asked for have truth before a candidate is decided of which nothing is sure."""


@dataclass(frozen=True)
class Both:
    """Both holds what came of the candidate's forecasts and the champion's, a row each that both are known of.

    `rows`: the columns of `Outcomes`, `as_of`, and `champion`, the champion's loss of the same row. `notes`: nights
    that could not be counted, and why.
    """

    rows: pl.DataFrame
    exponent: float
    metric: str
    notes: tuple[str, ...] = ()

    @property
    def nights(self) -> int:
        """Return of how many nights some truth has come."""
        return int(self.rows["as_of"].n_unique())


@dataclass
class Beside:
    """Beside joins what a candidate said of some nights with the truth of `raw`.

    `release`: the champion's. `model_sha256`: the candidate's, for a run that was repeated may have another winner now.
    """

    settings: Settings
    store: ObjectStore
    workload: str
    release: int
    scorer: FilesScorer
    raw: Raw
    model_sha256: str
    notes: list[str] = field(default_factory=list)

    @cached_property
    def champions(self) -> Mapping[date, str]:
        """Return the newest manifest's key of each evening of which the champion's forecasts are kept, in order."""
        found = kept.found(self.store, self.workload)
        return {one.as_of: one.key for one in found if one.release == self.release}

    def evenings(self, since: date) -> list[date]:
        """Return the evenings of which forecasts of the champion are kept, from a day on."""
        return [as_of for as_of in self.champions if as_of >= since]

    def joined(self, nights: Mapping[date, str]) -> Both | None:
        """Return what came of the forecasts with these manifests' keys; None while there is no truth of any."""
        parts: list[pl.DataFrame] = []
        exponent = 1.0
        for as_of, key in nights.items():
            if as_of >= self.raw.as_of:
                continue
            if as_of not in self.champions:
                self.notes.append(
                    f"the night of {as_of} is not counted: no forecasts of release {self.release} are kept"
                )
                continue
            try:
                mine, outcomes = self._night(as_of, key, self.champions[as_of])
            except (IntegrityError, DataError, NotYetError, UsageError, pl.exceptions.ColumnNotFoundError) as error:
                self.notes.append(f"the night of {as_of} is not counted: {error}")
                continue
            exponent = outcomes.exponent
            if not mine.is_empty():
                parts.append(mine)
        if not parts:
            return None
        rows = pl.concat(parts, how="diagonal").sort("day", "entity", "step", "as_of")
        return Both(rows, exponent, self.scorer.problem.primary_metric, tuple(self.notes))

    def _night(self, as_of: date, key: str, champions: str) -> tuple[pl.DataFrame, Outcomes]:
        """Return one night's rows.

        Raises IntegrityError when another model made them, or both did not forecast from the same tables.
        """
        manifest, predictions = kept.read(self.store, key)
        if manifest.model_sha256 != self.model_sha256:
            raise IntegrityError("another model than the run's winner of now made its forecasts")
        said = self._champions(champions, manifest.tables)
        tables = {name: table.lazy() for name, table in self.raw.tables.items()}
        since = Since(as_of, self.raw.as_of, tables, partial(self._then, manifest))
        problem, contract = self.scorer.problem, self.scorer.contract
        mine = problem.outcomes(predictions, since, contract)
        # Both are measured alike, under the candidate's contract, as the watch does with the former champion.
        losses = problem.outcomes(said, since, contract).rows.select(*KEYS, pl.col("loss").alias(CHAMPION))
        rows = mine.rows.filter(pl.col("day") <= self.raw.as_of).with_columns(pl.lit(as_of).alias("as_of"))
        return rows.join(losses, on=KEYS, how="inner", maintain_order="left"), mine

    def _champions(self, newest: str, tables: Mapping[str, str]) -> pl.DataFrame:
        """Return what the champion said of the same tables: the newest of its files of that day that is of them."""
        for key in kept.numbers(self.store, newest):
            theirs, said = kept.read(self.store, key)
            if theirs.tables == tables:
                return said
        raise IntegrityError(f"candidate and release {self.release} did not forecast from the same tables")

    def _then(self, manifest: kept.Manifest) -> Tables:
        found = of_run(self.settings, self.workload, manifest.run_id)
        return {name: table.lazy() for name, table in found.tables.items()}


@dataclass(frozen=True)
class Judgement:
    """A Judgement is what the nights in shadow say. `reason`: one line; `comparison`: None where none could be made."""

    outcome: Literal["open", "passed", "refused"]
    reason: str
    comparison: Comparison | None = None


def is_late(evenings: Collection[date], until: date, nights: int, watch: Watch, problem: Problem) -> bool:
    """Return whether no more truth of a candidate is waited for.

    `evenings`: those since its night on which the champion forecast, up to `until`, the last day of truth; its own are
    not asked, for a candidate that forecasts no more would never be late. PATIENCE times the `nights` asked for must
    be there, and `watch.days` have gone since five days of their truth were due.
    """
    there = sorted(evening for evening in evenings if evening <= until)[: PATIENCE * nights]
    if len(there) < PATIENCE * nights:
        return False
    return until >= problem.truth_by(there[-1], FEW_BLOCKS) + timedelta(days=watch.days)


def judge(both: Both | None, nights: int, watch: Watch, *, late: bool) -> Judgement:
    """Judge a candidate by its live error against the champion's on the same rows, once `nights` of them have truth.

    It passes if it is surely not worse by more than `watch.margin`, and is refused if it surely is: the whole interval
    of `watch.confidence` lies on one side. Where the margin lies within, further nights are waited for; once PATIENCE
    times as many have truth, the difference itself decides. If truth is not there, or cannot be compared, when it is
    `late`, as `is_late` has it, the candidate is refused. Nothing is said of less than five days of truth.
    """
    if both is None:
        return _unknown("no truth of its forecasts has come", late=late)
    days = both.rows["day"].n_unique()
    if both.nights < nights or days < FEW_BLOCKS:
        return _unknown(f"nights with truth: {both.nights}; days of it: {days}", late=late)
    comparison = against(both.rows, CHAMPION, both.exponent, watch.confidence, RESAMPLES)
    if comparison is None or not math.isfinite(comparison.difference + comparison.low + comparison.high):
        return _unknown("its live error cannot be compared with the champion's", late=late)
    said = told(both, comparison)
    last = both.nights >= PATIENCE * nights
    if comparison.low > watch.margin or (last and comparison.difference > watch.margin):
        return Judgement("refused", f"{said}: worse by more than {watch.margin:.1%}", comparison)
    if comparison.high <= watch.margin or last:
        return Judgement("passed", said, comparison)
    return Judgement("open", f"{said}: the interval holds the margin of {watch.margin:.1%}", comparison)


def _unknown(reason: str, *, late: bool) -> Judgement:
    return Judgement("refused", f"{reason}; no more nights are waited for") if late else Judgement("open", reason)


def told(both: Both, comparison: Comparison) -> str:
    """Return the comparison as one line."""
    first, last = span(both.rows)
    return (
        f"{both.nights} nights in shadow: live error against the champion: {comparison}, {both.rows.height:,} rows, "
        f"{first} to {last}"
    )


def evidence(store: ObjectStore, workload: str, run_id: str, both: Both, judgement: Judgement, watch: Watch) -> str:
    """Write what shows a judgement, named by its content: sums by night, day and step, and a query. Returns its key."""
    keys = ("as_of", "day", "step")
    table = (
        both.rows.group_by(*keys)
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("loss", "weight", CHAMPION).sum().round_sig_figs(DIGITS))
        .sort(*keys)
    )
    content = parquet(table)
    stem = f"{ROOT}/{workload}/evidence/shadow-{hashlib.sha256(run_id.encode() + content).hexdigest()[:16]}"
    with contextlib.suppress(ObjectExists):  # the same bytes: their digest is the name
        store.create(f"{stem}.parquet", content)
    measured = {} if judgement.comparison is None else asdict(judgement.comparison)
    mine, theirs = (f"power(sum({name}) / sum(weight), {both.exponent!r})" for name in ("loss", CHAMPION))
    document: dict[str, Any] = {
        "workload": workload,
        "candidate": run_id,
        "metric": both.metric,
        "margin": watch.margin,
        "confidence": watch.confidence,
        "outcome": judgement.outcome,
        "reason": judgement.reason,
        **{name: rounded(value) for name, value in measured.items()},
        "query": f"SELECT sum(rows) AS rows, {mine} / ({theirs}) - 1 AS difference FROM shadow",  # noqa: S608
        "shadow": store.url(f"{stem}.parquet"),
    }
    create(store, f"{stem}.json", document)
    return f"{stem}.json"
