"""Kept forecasts are joined with the truth that has come, beside the naive forecast and the former champion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, partial

import polars as pl

from tasks.core.errors import DataError, IntegrityError, NightstillError, NotYetError, UsageError
from tasks.core.settings import Settings
from tasks.core.storage import ObjectStore
from tasks.problems.base import Outcomes, Problem, Since
from tasks.releases.ledger import Entry
from tasks.releases.standing import before_release, releases
from tasks.releases.store import ReleaseStore
from tasks.scoring import kept
from tasks.scoring.raw import Raw, of_run
from tasks.scoring.scorer import Scorer
from tasks.tables.table import Tables

OTHERS = ("naive", "former")


@dataclass(frozen=True)
class Joined:
    """Joined holds what came of the forecasts of the window, a row each.

    `rows`: the columns of `Outcomes` and its `steps`, `as_of`, `release`, `former_release`; `naive` and `former`, the
    losses of the same row (null where there is none). `notes`: what could not be counted, and why. `as_gated`: as
    `Outcomes` has it.
    """

    rows: pl.DataFrame
    exponent: float
    metric: str
    notes: tuple[str, ...] = ()
    as_gated: bool = True


@dataclass
class Watched:
    """Watched loads what is needed of a workload's releases, each once, and joins what was kept with `raw`."""

    settings: Settings
    store: ObjectStore
    store_of_releases: ReleaseStore
    workload: str
    raw: Raw
    notes: list[str] = field(default_factory=list)
    scorers: dict[int, Scorer | None] = field(default_factory=dict)
    recent: dict[int, Mapping[str, pl.DataFrame]] = field(default_factory=dict)

    @cached_property
    def entries(self) -> Sequence[Entry]:
        """Return the ledger."""
        return self.store_of_releases.ledger.entries()

    def joined(self, days: int) -> Joined | None:
        """Return the outcomes on the last `days` days of truth; None if there is not one."""
        last = self.raw.as_of
        first = last - timedelta(days=days - 1)
        counted = list(self._counted(first, last))
        oldest = counted[-1][0].as_of if counted else last
        evenings = (self._of(found, scorer, first, last, oldest) for found, scorer in counted)
        parts = [part for part in evenings if part]
        if not parts:
            return None
        _, newest, outcomes = parts[0]
        same = [rows for rows, scorer, _ in parts if scorer.problem.primary_metric == newest.problem.primary_metric]
        if len(same) < len(parts):
            self.note("forecasts of releases with another primary metric are left out")
        return Joined(
            pl.concat(same, how="diagonal"),
            outcomes.exponent,
            newest.problem.primary_metric,
            tuple(self.notes),
            outcomes.as_gated,
        )

    def _counted(self, first: date, last: date) -> Iterator[tuple[kept.Found, Scorer]]:
        """Yield the forecasts that are about the window and their releases, newest first."""
        for found in reversed(kept.found(self.store, self.workload)):
            made = releases(self.entries).get(found.release)
            # What a release says of days that it was trained on is no forecast.
            if made is None or not made.as_of <= found.as_of < last or (scorer := self._scorer(found.release)) is None:
                continue
            if scorer.problem.last_day(found.as_of) < first:
                return  # and so do all before it
            yield found, scorer

    def note(self, text: str) -> None:
        """Keep something that a reader should know, once."""
        if text not in self.notes:
            self.notes.append(text)

    def _of(
        self, found: kept.Found, scorer: Scorer, first: date, last: date, oldest: date
    ) -> tuple[pl.DataFrame, Scorer, Outcomes] | None:
        """Return the outcomes of one day's forecasts within the window; `oldest`: the first day of all that count."""
        manifest, predictions = kept.read(self.store, found.key)
        try:
            tables = {name: table.lazy() for name, table in self._recent(found.release, scorer, oldest).items()}
            since = Since(found.as_of, last, tables, partial(self._then, manifest))
            outcomes = scorer.problem.outcomes(predictions, since, scorer.contract)
        except (IntegrityError, DataError, NotYetError, UsageError) as error:  # the two last: its night was tidied up
            self.note(f"forecasts of {found.as_of}, release {found.release}, are not counted: {error}")
            return None
        rows = outcomes.rows.filter(pl.col("day").is_between(first, last))
        if rows.is_empty():
            return None
        rows = rows.with_columns(
            pl.lit(found.as_of).alias("as_of"),
            pl.lit(found.release, pl.Int64).alias("release"),
            pl.lit(outcomes.steps, pl.Int32).alias("steps"),
            pl.lit(before_release(self.entries, found.release), pl.Int64).alias("former_release"),
        )
        for name, losses in self._beside(scorer, found, since, oldest):
            rows = rows.join(
                losses.rename({"loss": name}), on=["entity", "day", "step"], how="left", maintain_order="left"
            )
        missing = [pl.lit(None, pl.Float64).alias(name) for name in OTHERS if name not in rows.columns]
        return rows.with_columns(missing), scorer, outcomes

    def _beside(
        self, scorer: Scorer, found: kept.Found, since: Since, oldest: date
    ) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield the losses of the naive forecast, and of the former champion, on the same day's evening."""
        try:
            said = scorer.problem.naive_predictions(since, scorer.contract)
            yield "naive", _losses(scorer.problem, said, since, scorer)
        except (NightstillError, pl.exceptions.ColumnNotFoundError) as error:
            self.note(f"the naive forecast of {found.as_of} cannot be measured: {error}")
        former = before_release(self.entries, found.release)
        other = None if former is None else self._scorer(former)
        if former is None or other is None:
            return
        try:
            said = other.score(self._recent(former, other, oldest), found.as_of)
            yield "former", _losses(scorer.problem, said, since, scorer)
        except (NightstillError, pl.exceptions.ColumnNotFoundError) as error:
            self.note(f"release {former}, the champion before {found.release}, cannot be measured: {error}")

    def _recent(self, release: int, scorer: Scorer, oldest: date) -> Mapping[str, pl.DataFrame]:
        """Return the rows that a release's predictions on `oldest` or later depend on, looked for once."""
        if release not in self.recent:
            self.recent[release] = scorer.recent(self.raw.tables, oldest)
        return self.recent[release]

    def _scorer(self, release: int) -> Scorer | None:
        if release not in self.scorers:
            try:
                self.scorers[release] = Scorer(self.store_of_releases, self.workload, release)
            except NightstillError as error:
                self.note(f"release {release} is left out: {error}")
                self.scorers[release] = None
        return self.scorers[release]

    def _then(self, manifest: kept.Manifest) -> Tables:
        """Return the tables that forecasts were made of, from the snapshot of their night."""
        if not manifest.run_id:
            raise IntegrityError("they were made of the source's tables, which nobody kept")
        found = of_run(self.settings, self.workload, manifest.run_id)
        return {name: table.lazy() for name, table in found.tables.items()}


def _losses(problem: Problem, predictions: pl.DataFrame, since: Since, scorer: Scorer) -> pl.DataFrame:
    """Return entity, day, step and loss of other predictions, measured as the release's own are."""
    return problem.outcomes(predictions, since, scorer.contract).rows.select("entity", "day", "step", "loss")
