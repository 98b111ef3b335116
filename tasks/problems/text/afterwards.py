"""What came of kept predictions of texts: a row's label, if it had none when it was predicted."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import BY, FeatureContract, Floats, Inputs, Outcomes, Since
from tasks.problems.text.dataset import BY_LABEL, ROWS, labels_of
from tasks.problems.text.metrics import naive_output, score_labels
from tasks.problems.text.options import Options
from tasks.tables.table import Tables

ENTITY = "_entity"
"""The source's own columns are never called so."""


@dataclass(frozen=True)
class Constant:
    """Constant is the naive answer as a model: the same for every row."""

    contract: FeatureContract
    names: Collection[str] = ()

    def __call__(self, inputs: Inputs) -> Floats:
        """Return (n, classes)."""
        return naive_output(self.contract, len(next(iter(inputs.values()))))


def outcomes(predictions: pl.DataFrame, since: Since, options: Options) -> Outcomes:
    """Score the predictions of rows that have got their label since; training may have seen the others.

    Raises ConfigError without `problem.id`, IntegrityError when the table that was predicted from is gone.
    """
    if not options.id:
        raise ConfigError("problem.id: nobody can tell which row a later label is of; name the columns that say it")
    name = pl.concat_str([pl.col(column).cast(pl.String) for column in options.id], separator="/").alias(ENTITY)
    rows = _labelled(since.now, options, name).join(_labelled(since.then(), options, name), on=ENTITY, how="anti")
    found = predictions.with_columns(name).join(rows, on=ENTITY, maintain_order="left")
    label = labels_of(found[options.target], options)
    chances = found.select(f"p_{each}" for each in options.classes).to_numpy().reshape(len(found), -1)
    gap = chances.max(axis=1) - (chances.argmax(axis=1) == label) if len(found) else np.zeros(0)
    logits = np.log(np.maximum(chances, np.finfo(np.float32).tiny)).astype(np.float32)
    loss = score_labels(logits, label, None).loss if len(found) else np.zeros(0)
    day = pl.col(options.time).cast(pl.Date) if options.time else pl.lit(since.as_of)
    by = [pl.col(each).cast(pl.String).fill_null("null").alias(BY + each) for each in options.segments]
    return Outcomes(
        found.select(
            pl.col(ENTITY).alias("entity"),
            day.alias("day"),
            pl.lit(1, pl.Int32).alias("step"),
            pl.Series("truth", label, pl.Float64),
            pl.Series("loss", loss, pl.Float64),
            pl.lit(1.0).alias("weight"),
            pl.Series("gap", gap, pl.Float64),
            pl.lit(1.0).alias("size"),
            pl.lit(None, pl.Boolean).alias("inside"),
            pl.col(options.target).alias(BY + BY_LABEL),
            *by,
        )
    )


def _labelled(tables: Tables, options: Options, name: pl.Expr) -> pl.DataFrame:
    """Return the rows with a label: their name, label, day and segments."""
    table = tables[ROWS]
    schema = table.collect_schema()
    if options.time and options.time not in schema:
        raise DataError(f"{options.time}: the table has no such column, and the watch needs the time")
    table = table.with_columns(
        pl.lit(None, pl.String).alias(name) for name in (options.target, *options.segments) if name not in schema
    )
    columns = dict.fromkeys((*((options.time,) if options.time else ()), *options.segments))
    known = table.filter(pl.col(options.target).is_not_null())
    return known.select(name, pl.col(options.target).cast(pl.String), *columns).collect(engine="streaming")
