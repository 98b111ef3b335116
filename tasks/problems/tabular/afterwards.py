"""What came of kept chances: the class of an entity's amount over the days after, once these have passed."""

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import BY, Outcomes, Since
from tasks.problems.tabular.dataset import EVENTS, classify
from tasks.problems.tabular.history import PREVIOUS, UNKNOWN, Origins, amounts_after
from tasks.problems.tabular.metrics import score_classes, transitions
from tasks.problems.tabular.options import Options

Edges = tuple[float, ...]


def outcomes(predictions: pl.DataFrame, since: Since, options: Options, edges: Edges) -> Outcomes:
    """Score the chances of each entity by the class that it came to be in; none before the last of the days is known.

    An entity without a row in these days has the first class.
    """
    day = since.as_of + timedelta(days=options.horizon_days)
    if day > since.until:
        predictions = predictions.clear()
    entity = pl.col(options.entity).cast(pl.String)
    found = (
        predictions.with_columns(entity.alias("entity"))
        .join(_classes(since, options, edges, 0, "truth"), on="entity", how="left", maintain_order="left")
        .join(_classes(since, options, edges, 1, PREVIOUS), on="entity", how="left", maintain_order="left")
        .join(_latest(since, options), on="entity", how="left", maintain_order="left")
        .with_columns(pl.col("truth", PREVIOUS).fill_null(0))
    )
    chances = found.select(f"p_{name}" for name in options.classes).to_numpy()
    truth = found["truth"].to_numpy().astype(np.int64)
    logits = np.log(np.maximum(chances, np.finfo(np.float32).tiny)).astype(np.float32)
    loss = score_classes(logits, truth).loss if len(truth) else np.zeros(0)
    return Outcomes(
        found.select(
            "entity",
            pl.lit(day).alias("day"),
            pl.lit(1, pl.Int32).alias("step"),
            pl.col("truth").cast(pl.Float64),
            pl.Series("loss", loss, pl.Float64),
            pl.lit(1.0).alias("weight"),
            pl.Series("gap", overconfidence(chances, truth), pl.Float64),
            pl.lit(1.0).alias("size"),
            pl.lit(None, pl.Boolean).alias("inside"),
            _named(options, PREVIOUS).alias(BY + PREVIOUS),
            *[pl.col(name).fill_null(UNKNOWN).alias(BY + name) for name in options.categories],
        )
    )


def _named(options: Options, column: str) -> pl.Expr:
    """Return the names of a column of classes."""
    return pl.col(column).replace_strict(dict(enumerate(options.classes)), return_dtype=pl.String)


def overconfidence(chances: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (rows,) the chance of the likeliest class minus whether it came."""
    if not len(truth):
        return np.zeros(0)
    gap: NDArray[np.float64] = chances.max(axis=1) - (chances.argmax(axis=1) == truth)
    return gap


def naive_chances(since: Since, options: Options, edges: Edges) -> pl.DataFrame:
    """Return the shares of classes that followed an entity's previous class, counted one horizon before `as_of`."""
    before, now = (_classes(since, options, edges, back, name) for back, name in ((2, "before"), (1, PREVIOUS)))
    known = _known(since, options)
    found = known.join(now, on="entity", how="left").join(before, on="entity", how="left", maintain_order="left")
    found = found.with_columns(pl.col("before", PREVIOUS).fill_null(0))
    previous = found[PREVIOUS].to_numpy().astype(np.int64)
    old = found["old"].to_numpy()  # it was known when the days that are counted began
    shares = np.exp(transitions(found["before"].to_numpy().astype(np.int64)[old], previous[old], len(options.classes)))
    return with_chances(found.select(pl.col("entity").alias(options.entity)), shares[previous], options)


def with_chances(entities: pl.DataFrame, chances: NDArray[np.floating], options: Options) -> pl.DataFrame:
    """Return the entities with p_<class> of each class, and `predicted`, the likeliest class."""
    return entities.with_columns(
        *[pl.Series(f"p_{name}", chances[:, place]) for place, name in enumerate(options.classes)],
        pl.Series("predicted", np.array(options.classes)[chances.argmax(axis=1)], pl.String),
    )


def _classes(since: Since, options: Options, edges: Edges, back: int, name: str) -> pl.DataFrame:
    """Return entity and class of the horizon that begins `back` horizons before the evening of `as_of`."""
    origin = since.as_of - timedelta(days=back * options.horizon_days)
    return (
        amounts_after(since.now[EVENTS], Origins(origin), options)
        .select(pl.col(options.entity).cast(pl.String).alias("entity"), classify(pl.col("amount"), edges).alias(name))
        .collect(engine="streaming")
    )


def _known(since: Since, options: Options) -> pl.DataFrame:
    """Return the entities with a row up to `as_of`, and whether they had one a horizon before."""
    day = pl.col(options.date).cast(pl.Date)
    return (
        since.now[EVENTS]
        .filter(day <= since.as_of)
        .group_by(pl.col(options.entity).cast(pl.String).alias("entity"))
        .agg((day.min() <= since.as_of - timedelta(days=options.horizon_days)).alias("old"))
        .sort("entity")
        .collect(engine="streaming")
    )


def _latest(since: Since, options: Options) -> pl.DataFrame:
    """Return the categories that each entity had on `as_of`."""
    day = pl.col(options.date).cast(pl.Date)
    return (
        since.now[EVENTS]
        .filter(day <= since.as_of)
        .sort(options.date)
        .group_by(pl.col(options.entity).cast(pl.String).alias("entity"))
        .agg(pl.col(name).cast(pl.String).last() for name in options.categories)
        .collect(engine="streaming")
    )
