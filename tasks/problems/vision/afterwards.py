"""What came of kept predictions: an image's label, if it had none when it was predicted."""

import numpy as np
import polars as pl

from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import BY, Outcomes, Since
from tasks.problems.vision.checks import label_numbers
from tasks.problems.vision.files import LABELS
from tasks.problems.vision.metrics import score_images
from tasks.problems.vision.options import CLASS, Options
from tasks.tables.table import Tables

ENTITY, TRUTH = "_entity", "_truth"
"""The source's own columns are never called so."""


def outcomes(predictions: pl.DataFrame, since: Since, options: Options) -> Outcomes:
    """Score the predictions of images that have got their label since; training may have seen the others.

    Raises ConfigError without `problem.id`, IntegrityError when the table that was predicted from is gone.
    """
    if options.id is None:
        raise ConfigError("problem.id: nobody can tell which image a later label is of; name the column that says it")
    rows = _labelled(since.now, options).join(_labelled(since.then(), options), on=ENTITY, how="anti")
    kept = predictions.with_columns(pl.col(options.id).cast(pl.String).alias(ENTITY))
    names = [f"p_{name}" for name in options.classes]
    found = kept.select(ENTITY, *names).join(rows, on=ENTITY, maintain_order="left")
    truth = found[TRUTH].to_numpy().astype(np.int64)
    chances = found.select(names).to_numpy().astype(np.float64)
    logits = np.log(np.maximum(chances, np.finfo(np.float32).tiny)).astype(np.float32)
    loss = score_images(logits, truth, options.metric).loss if len(truth) else np.zeros(0)
    gap = chances.max(axis=1) - (chances.argmax(axis=1) == truth) if len(truth) else np.zeros(0)
    day = pl.col(options.time).cast(pl.Date) if options.time else pl.lit(since.as_of)
    return Outcomes(
        found.select(
            pl.col(ENTITY).alias("entity"),
            day.alias("day"),
            pl.lit(1, pl.Int32).alias("step"),
            pl.col(TRUTH).cast(pl.Float64).alias("truth"),
            pl.Series("loss", loss, pl.Float64),
            pl.lit(1.0).alias("weight"),
            pl.Series("gap", gap, pl.Float64),
            pl.lit(1.0).alias("size"),
            pl.lit(None, pl.Boolean).alias("inside"),
            pl.col(options.label).cast(pl.String).alias(BY + CLASS),
            *[pl.col(name).cast(pl.String).fill_null("null").alias(BY + name) for name in options.by],
        )
    )


def _labelled(tables: Tables, options: Options) -> pl.DataFrame:
    """Return the rows with a label: their name, label, class, day and segments."""
    table = tables[LABELS]
    schema = table.collect_schema()
    if options.time and options.time not in schema:
        raise DataError(f"{options.time}: the table has no such column, and the watch needs the time")
    table = table.with_columns(
        pl.lit(None, pl.String).alias(name) for name in (options.label, *options.by) if name not in schema
    )
    wanted = (options.label, options.time, *options.by)
    found = (
        table.filter(pl.col(options.label).is_not_null())
        .select(pl.col(options.id or "").cast(pl.String).alias(ENTITY), *(name for name in wanted if name))
        .collect(engine="streaming")
    )
    return found.with_columns(label_numbers(found[options.label], options).alias(TRUTH)).drop_nulls(TRUTH)
