"""What came of kept predictions of labelled rows: a row's label, if it had none when it was predicted."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import ConfigError
from tasks.problems.base import BY, FeatureContract, Floats, Inputs, Outcomes, Score, Since
from tasks.problems.tabular.afterwards import overconfidence
from tasks.problems.tabular.labelled.dataset import ROWS, labels_of
from tasks.problems.tabular.labelled.metrics import naive_output, score_classes, score_values
from tasks.problems.tabular.labelled.options import Options
from tasks.tables.table import Tables


@dataclass(frozen=True)
class Constant:
    """Constant is the naive answer as a model: the same for every row."""

    contract: FeatureContract
    options: Options
    names: Collection[str] = ()

    def __call__(self, inputs: Inputs) -> Floats:
        """Return (n, outputs)."""
        return naive_output(self.contract, self.options, len(next(iter(inputs.values()))))


def outcomes(predictions: pl.DataFrame, since: Since, options: Options) -> Outcomes:
    """Score the predictions of rows that have got their label since; training may have seen the others.

    Raises ConfigError without `problem.id`, IntegrityError when the table that was predicted from is gone.
    """
    if not options.id:
        raise ConfigError("problem.id: nobody can tell which row a later label is of; name the columns that say it")
    rows = _labelled(since.now, options).join(_labelled(since.then(), options), on="entity", how="anti")
    kept = predictions.with_columns(_name(options).alias("entity"))
    found = kept.join(rows, on="entity", maintain_order="left")
    label = labels_of(found[options.target], options)
    score, gap = _scored(found, label, options)
    inside: pl.Expr | pl.Series = pl.lit(None, pl.Boolean)
    if options.bands and set(options.bands) <= set(found.columns):  # a former champion may have others, or none
        inside = pl.Series("truth", label).is_between(found[options.bands[0]], found[options.bands[-1]])
    by = (*options.categories, *options.booleans)
    day = pl.col(options.time).cast(pl.Date) if options.time else pl.lit(since.as_of)
    return Outcomes(
        found.select(
            "entity",
            day.alias("day"),
            pl.lit(1, pl.Int32).alias("step"),
            pl.Series("truth", label, pl.Float64),
            pl.Series("loss", score.loss, pl.Float64),
            pl.Series("weight", score.weight, pl.Float64),
            pl.Series("gap", gap * score.weight, pl.Float64),
            pl.Series("size", score.weight, pl.Float64),
            inside.alias("inside"),
            *[pl.col(name).cast(pl.String).fill_null("null").alias(BY + name) for name in by],
        ),
        score.exponent,
    )


def _name(options: Options) -> pl.Expr:
    return pl.concat_str([pl.col(name).cast(pl.String) for name in options.id], separator="/")


def _labelled(tables: Tables, options: Options) -> pl.DataFrame:
    """Return the rows with a label: their name, label, weight, day and segments."""
    wanted = (options.target, options.weight, options.time, *options.categories, *options.booleans)
    table = tables[ROWS]
    if options.target not in table.collect_schema():
        table = table.with_columns(pl.lit(None, pl.String).alias(options.target))
    return (
        table.filter(pl.col(options.target).is_not_null())
        .select(_name(options).alias("entity"), *dict.fromkeys(name for name in wanted if name))
        .collect(engine="streaming")
    )


def _scored(found: pl.DataFrame, label: Floats, options: Options) -> tuple[Score, NDArray[np.floating]]:
    """Return the score and (rows,) gaps."""
    if found.is_empty():
        return Score(np.zeros(0), np.zeros(0), {}, exponent=0.5 if options.error in ("rmse", "rmsle") else 1.0), label
    weight = found[options.weight].cast(pl.Float64).to_numpy() if options.weight else np.ones(len(label))
    target = np.column_stack([label, weight])
    if not options.labels:
        value = found["predicted"].cast(pl.Float32).to_numpy()
        return score_values(value[:, None], target, options.error), value - label
    chances = found.select(f"p_{name}" for name in options.labels).to_numpy()
    logits = np.log(np.maximum(chances, np.finfo(np.float32).tiny)).astype(np.float32)
    return score_classes(logits, target, options.error), overconfidence(chances, label.astype(np.int64))
