"""This module turns a benchmark set into a user's table and the product's dataset, and its forecasts back."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.metrics import QUANTILES, Forecasts
from bench.sets import BenchSet
from tasks.problems.base import Floats as Outputs
from tasks.problems.base import Inputs, Split
from tasks.problems.forecasting.dataset import Windows, build_windows
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import Panel

MONTHS = "MS"
FREQUENCIES = {MONTHS: "1mo", "D": "1d", "W-FRI": "1w", "h": "1h", "30min": "30m", "15min": "15m", "10min": "10m"}
CHUNK = 16_384
VALID_ORIGINS = 300


def as_of(data: BenchSet) -> date:
    """Return the day of the last test origin: a night of that day knows no later value.

    A month is known on its last day.
    """
    step = _even(data)[data.origins.test[-1]]
    if data.frequency == MONTHS:
        step = (step.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    day: date = step.astype("datetime64[D]").astype(date)
    return day


def table_of(data: BenchSet, options: Options) -> pl.DataFrame:
    """Return a user's rows on `as_of`: observed up to the last test origin, with covariates known ahead.

    Of the covariates of the past it has those that `options` names. Series are numbered, so that they keep the set's
    order. Steps are evenly apart: a set whose clock jumps is counted by its rows, as those who published it do.
    """
    count, steps = data.values.shape
    origin, number = data.origins.test[-1], np.arange(steps)
    even = _even(data)
    ahead = (even.astype("datetime64[D]") > np.datetime64(as_of(data))) & (number <= origin + options.horizon)
    given = (data.observed & (number <= origin)) | ahead
    times = pl.Series("date", even.astype("datetime64[us]"))

    def column(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values, (count, steps))[given]

    line, step = np.nonzero(given)
    names = pl.Series([f"{place:05d} {name}" for place, name in enumerate(data.series)])
    return pl.DataFrame(
        [
            (times.dt.date() if options.step.whole_days else times)[step],
            names[line].alias("series_id"),
            *[pl.Series(data.static[name].astype(np.str_))[line].alias(name) for name in options.static],
            pl.Series("units", np.where(ahead[step], np.nan, data.values[given]), nan_to_null=True),
            *[
                pl.Series(name, column(values) > 0 if name == "holiday" else column(values))
                for name, values in data.known.items()
            ],
            *[
                pl.Series(name, np.where(ahead[step], np.nan, column(data.past[name])), nan_to_null=True)
                for name in options.covariates_known("past")
            ],
        ]
    )


def _even(data: BenchSet) -> NDArray[np.datetime64]:
    times = data.times
    if data.frequency == MONTHS:
        return times
    gaps = np.diff(times)
    even: NDArray[np.datetime64] = times[0] + np.median(gaps.astype(np.int64)).astype(gaps.dtype) * np.arange(
        len(times)
    )
    return even


def windows_of(panel: Panel, data: BenchSet, options: Options) -> Windows:
    """Return the windows of a set's panel at the set's origins; test values are not in it when `data` is sealed.

    Training origins lie `options.stride` steps apart and end a horizon before the first validation origin. Of very many
    validation origins about 300, spread evenly, are used.
    """
    last = data.origins.valid[0] - options.horizon
    origins: dict[Split, Sequence[int]] = {
        "train": range(last, options.min_history - 2, -options.stride)[::-1],
        "valid": data.origins.valid[:: -(-len(data.origins.valid) // VALID_ORIGINS)],
        "test": data.origins.test,
    }
    return build_windows(
        panel, options, {name: [at + options.context for at in place] for name, place in origins.items()}
    )


def promotions_of(data: BenchSet, price: str | None) -> tuple[str, ...]:
    """Return names of covariates known ahead, but for holiday and price, in the order of `windows_of`."""
    return tuple(name for name in data.known if name not in ("holiday", price))


def forecasts_of(
    windows: Windows, data: BenchSet, model: Callable[[Inputs], Outputs], names: Sequence[str]
) -> Forecasts:
    """Return the model's forecasts of all test windows; zero for series that had not begun."""
    options, rows = windows.options, windows.splits["test"]
    series = np.array([int(name.split(" ", 1)[0]) for name in windows.panel.names.tolist()])  # numbered by table_of
    place = {origin + options.context: number for number, origin in enumerate(data.origins.test)}
    at = np.array([place[origin] for origin in windows.origins[rows].tolist()])
    shape = (len(place), len(data.series), options.horizon, len(options.outputs))
    outputs = np.zeros(shape, np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        outputs[at[part], series[windows.lines[rows[part]]]] = model(windows.inputs(rows[part], names))
    if options.metric == "mse":
        return Forecasts(mean=outputs[..., 0])
    quantiles = np.ascontiguousarray(outputs[..., : len(QUANTILES)])
    return Forecasts(mean=outputs[..., -1] if options.mean else None, quantiles=quantiles)
