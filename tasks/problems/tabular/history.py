"""An entity's history gives features at an origin, and labels of the days afterwards. One origin = one day.

Features read days up to and including the origin, labels the `horizon_days` after it: `_aged` is the one place where
rows meet origins, so that is where leakage would be.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from tasks.problems.tabular.options import Options

ORIGIN = "origin"
PREVIOUS = "previous"
UNKNOWN = "unknown"
AGE = "_age"
# The last digits of a sum of floats depend on the order of threads; the dataset's files must not, in any unit.
DIGITS = 9


@dataclass(frozen=True)
class Origins:
    """Origins are `count` days, `step` days apart, ending at `last`."""

    last: date
    step: int = 1
    count: int = 1

    @property
    def days(self) -> list[date]:
        """Return the origins, latest first."""
        return [self.last - timedelta(days=self.step * index) for index in range(self.count)]


def feature_names(options: Options) -> tuple[str, ...]:
    """Return the names of the numeric features in the order of the model's input; all are zero or positive."""
    return options.features


def features(table: pl.LazyFrame, origins: Origins, options: Options) -> pl.LazyFrame:
    """Make one row per origin and entity seen by then: entity, origin, `feature_names`, `previous`, categories.

    - `recency_days`: since the last day with a positive target, at most the longest window;
    - `tenure_share`: days since the entity's first row, as a share of the days since the table's first row;
    - `active_days_W`, `<column>_W`: days with a positive target, and sums, over the last W days. Where the table is
      younger than W days they are extrapolated to W, so that they mean the same at every origin;
    - `<target>_trend`: daily target in the second-longest window over that in the longest; 0 without any;
    - `<part>_share`: part of the target over the longest window; 0 without any;
    - `previous`: sum of the target over the last `horizon_days` (for the naive baseline; no model sees it).
    """
    rows = _daily(table, options)
    longest, second = options.windows[-1], options.windows[-2]
    active, age = pl.col(options.target) > 0, pl.col(AGE)
    recent = (
        _aged(rows, origins, 0, max(longest, options.horizon_days), options)
        .group_by(options.entity, ORIGIN)
        .agg(
            age.filter(active).min().alias("recency_days"),
            pl.col(options.target).filter(age < options.horizon_days).sum().alias(PREVIOUS),
            *[active.filter(age < window).sum().alias(f"active_days_{window}") for window in options.windows],
            *[
                pl.col(name).filter(age < window).sum().alias(f"{name}_{window}")
                for name in options.sums
                for window in options.windows
            ],
            *[pl.col(name).filter(age < longest).sum().alias(f"{name}_share") for name in options.parts],
        )
    )
    reach = (pl.col(ORIGIN) - pl.col("_start")).dt.total_days() + 1
    windowed = [(f"{name}_{window}", window) for name in ("active_days", *options.sums) for window in options.windows]
    total = pl.col(f"{options.target}_{longest}")
    trend = pl.col(f"{options.target}_{second}") / second / (total / longest)

    def share(part: pl.Expr) -> pl.Expr:
        return pl.when(total > 0).then(part / total).otherwise(0.0)

    return (
        rows.group_by(options.entity)
        .agg(pl.col(options.date).min().alias("_first"))
        .with_columns(pl.col("_first").min().alias("_start"))
        .join(pl.LazyFrame({ORIGIN: origins.days}, schema={ORIGIN: pl.Date}), how="cross")
        .filter(pl.col("_first") <= pl.col(ORIGIN))
        .join(recent, on=[options.entity, ORIGIN], how="left")
        .with_columns(pl.col("recency_days").fill_null(longest).clip(upper_bound=longest))
        .with_columns(
            pl.col(PREVIOUS, *(n for n in feature_names(options) if n in recent.collect_schema())).fill_null(0)
        )
        .with_columns(share(pl.col(f"{name}_share")).alias(f"{name}_share") for name in options.parts)
        .with_columns(
            (((pl.col(ORIGIN) - pl.col("_first")).dt.total_days() + 1) / reach).alias("tenure_share"),
            *[pl.col(name) * (window / reach.clip(upper_bound=window)) for name, window in windowed],
        )
        .with_columns(pl.when(total > 0).then(trend).otherwise(0.0).alias(f"{options.target}_trend"))
        .sort(ORIGIN, options.entity)
        .join_asof(
            rows.select(options.entity, options.date, *options.categories).sort(options.date, options.entity),
            by=options.entity,
            left_on=ORIGIN,
            right_on=options.date,
            strategy="backward",
            check_sortedness=False,
        )
        .select(
            options.entity,
            ORIGIN,
            *[pl.col(name).cast(pl.Float64).round_sig_figs(DIGITS).cast(pl.Float32) for name in feature_names(options)],
            pl.col(PREVIOUS).round_sig_figs(DIGITS),
            *options.categories,
        )
        .sort(ORIGIN, options.entity)
    )


def amounts_after(table: pl.LazyFrame, origins: Origins, options: Options) -> pl.LazyFrame:
    """Return entity, origin, `amount`: sum of the target over (origin, origin + horizon_days].

    Entities without rows are left out.
    """
    return (
        _aged(_daily(table, options), origins, -options.horizon_days, 0, options)
        .group_by(options.entity, ORIGIN)
        .agg(pl.col(options.target).sum().round_sig_figs(DIGITS).alias("amount"))
    )


def _daily(table: pl.LazyFrame, options: Options) -> pl.LazyFrame:
    numbers = [*options.sums, *options.parts]
    return table.select(
        pl.col(options.date).cast(pl.Date),
        pl.col(options.entity).cast(pl.String),
        *[pl.col(name).cast(pl.Float64).fill_null(0.0) for name in numbers],
        *[pl.col(name).cast(pl.String).fill_null(UNKNOWN) for name in options.categories],
    )


def _aged(rows: pl.LazyFrame, origins: Origins, low: int, high: int, options: Options) -> pl.LazyFrame:
    """Return every row once for each origin at which it is `low` <= age < `high` days old, with `origin` and age.

    Age 0 is the origin's own day, a negative age lies after it. Cost: rows * (high - low) / step.
    """
    behind = (pl.lit(origins.last) - pl.col(options.date)).dt.total_days()
    oldest = ((behind - low) // origins.step).clip(upper_bound=origins.count - 1)
    newest = ((behind - high) // origins.step + 1).clip(lower_bound=0)
    days = origins.step * pl.col("_index")
    return (
        rows.with_columns(behind.alias("_behind"), newest.alias("_newest"), oldest.alias("_oldest"))
        .filter(pl.col("_newest") <= pl.col("_oldest"))
        .with_columns(pl.int_ranges("_newest", pl.col("_oldest") + 1).alias("_index"))
        .explode("_index")
        .with_columns(
            (pl.col("_behind") - days).alias(AGE),
            (pl.lit(origins.last) - pl.duration(days=days)).cast(pl.Date).alias(ORIGIN),
        )
    )
