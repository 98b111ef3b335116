"""What came of kept forecasts: each is joined with the units of its series and step, once these are known."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.problems.base import BY, Floats, Inputs, Outcomes, Since
from tasks.problems.forecasting.metrics import naive_forecast, score
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import MOMENT, SERIES, name_of_series


@dataclass(frozen=True)
class Naive:
    """Naive is the workload's naive forecast as a model, so that it reads the past as every model does."""

    options: Options
    names: Collection[str] = ("units", "observed")

    def __call__(self, inputs: Inputs) -> Floats:
        """Return (n, horizon, outputs)."""
        return naive_forecast(inputs["units"], self.options, inputs["observed"])


def outcomes(predictions: pl.DataFrame, since: Since, options: Options) -> Outcomes:
    """Score each forecast of one step by itself; the weights are those of the gates, the bias that of the median.

    Forecasts of a release that has no `mean` are scored by their quantiles, whatever `options` say of it.
    """
    if options.mean and "mean" not in predictions.columns:
        options = options.model_copy(update={"mean": False})
    truth = (
        since.now[SERIES]
        .filter(
            pl.col("units").is_not_null(),
            pl.col("date").cast(pl.Date).is_between(since.as_of, since.until, closed="right"),
        )
        .select(
            MOMENT.alias("at"),
            name_of_series(options.series).cast(pl.String).alias("entity"),
            pl.col("units").cast(pl.Float64).alias("truth"),
        )
        .collect(engine="streaming")
    )
    found = predictions.select(
        MOMENT.alias("at"),
        pl.col("series_id").cast(pl.String).alias("entity"),
        pl.col("date").cast(pl.Date).alias("day"),
        pl.col("date").rank("dense").cast(pl.Int32).alias("step"),
        *[pl.col(name).cast(pl.Float64).alias(f"output {name}") for name in options.outputs],
        *[pl.col(name).cast(pl.String).alias(BY + name) for name in options.static],
    ).join(truth, on=["at", "entity"])
    output = found.select(f"output {name}" for name in options.outputs).to_numpy()
    target = found["truth"].to_numpy()
    made = score(output[:, None, :].astype(np.float32), target[:, None], options)
    inside: pl.Expr = pl.lit(None, pl.Boolean)
    if len(options.quantiles) > 1:
        low, high = (f"output {options.outputs[place]}" for place in (0, len(options.quantiles) - 1))
        inside = pl.col("truth").is_between(low, high)
    return Outcomes(
        found.select(
            "entity",
            "day",
            "step",
            "truth",
            pl.Series("loss", made.loss, pl.Float64),
            pl.Series("weight", made.weight, pl.Float64),
            pl.Series("gap", output[:, options.median] - target, pl.Float64),
            (pl.lit(1.0) if options.metric == "mse" else pl.col("truth").abs()).alias("size"),
            inside.alias("inside"),
            *([pl.Series("mean_gap", output[:, -1] - target)] if options.mean else []),
            *[BY + name for name in options.static],
        ),
        made.exponent,
        options.horizon,
    )
