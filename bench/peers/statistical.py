"""This fits methods of statsforecast: one model a series, the method chosen on validation for the whole set.

Hyndman & Athanasopoulos 2021, Forecasting: Principles and Practice; Fiorucci et al. 2016 (theta).
Intervals are the library's: 10 % and 90 % are the ends of the 80 % interval; the point forecast is median and mean.
"""

from collections.abc import Mapping
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from statsforecast import StatsForecast
from statsforecast.models import (
    IMAPA,
    MSTL,
    AutoETS,
    AutoTheta,
    CrostonOptimized,
    SeasonalExponentialSmoothingOptimized,
    SeasonalWindowAverage,
    WindowAverage,
)
from statsforecast.utils import ConformalIntervals

from bench.metrics import Forecasts, score
from bench.peers.base import Result, Split, Unsuitable
from bench.peers.seasonal_naive import carried
from bench.sets import BenchSet, Floats

LOOK_BACK = 12  # longest seasons (or horizons) that a method sees, where the history is longer
LEVEL = 80
MANY = 10_000
RARE = 0.5
"""Where a larger share of values is zero, methods for demand that comes now and then are tried too."""


def candidates(data: BenchSet) -> Mapping[str, Any]:
    """Return methods that finish in minutes on the set. Raises Unsuitable where one model a window cannot."""
    if data.metric == "mse":
        raise Unsuitable(
            f"{data.name}: a statistical model is fitted for each of {len(data.origins.test)} windows and channels; "
            "choose another peer"
        )
    # Methods without a formula for their intervals calibrate them on the last windows of the history.
    calibrated = ConformalIntervals(h=data.horizon, n_windows=2)
    season = data.seasons[-1]
    methods: dict[str, Any] = {
        "seasonal-smoothing": SeasonalExponentialSmoothingOptimized(season, prediction_intervals=calibrated)
    }
    if (data.values[data.observed] == 0).mean() > RARE:
        methods["croston"] = CrostonOptimized(prediction_intervals=calibrated)
        methods["imapa"] = IMAPA(prediction_intervals=calibrated)
    # What the shortest history holds beside the calibration's windows.
    whole = (data.origins.valid[0] + 1 - 2 * data.horizon) // season
    if (count := min(whole, 8 if season < 50 else 2)) > 1:
        methods["seasonal-window-average"] = SeasonalWindowAverage(season, count, prediction_intervals=calibrated)
    if len(data.series) > MANY:
        # Methods without a search for each series.
        return {
            "seasonal-window-average": methods["seasonal-window-average"],
            "window-average": WindowAverage(28, prediction_intervals=calibrated),
            "croston": CrostonOptimized(prediction_intervals=calibrated),
        }
    if len(data.seasons) > 1:
        return {**methods, "mstl": MSTL(list(data.seasons), trend_forecaster=AutoETS(model="ZZN"))}
    # Exponential smoothing knows no seasons as long as a year of weeks.
    ets = AutoETS(season_length=season if season <= 24 else 1)
    return {**methods, "ets": ets, "theta": AutoTheta(season_length=season)}


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """Choose the method with the least error on the validation windows. Raises Unsuitable on sets scored by MSE."""
    start = process_time()
    methods = candidates(data)
    tried = {
        name: score(data, forecast(data, model, "valid"), "valid")[data.metric]
        for name, model in ({} if chosen else methods).items()
    }
    method = chosen["method"] if chosen else min(tried, key=lambda name: tried[name])
    tuned = process_time()
    forecasts = forecast(data, methods[method], "test")
    done = process_time()
    return Result(
        forecasts=forecasts,
        train_seconds=tuned - start,
        fit_seconds=0.0,
        predict_seconds=done - tuned,
        parameters=0,
        size=0,
        settings={"method": method},
        tried=tried,
    )


def forecast(data: BenchSet, model: Any, split: Split) -> Forecasts:
    """Return a method's forecasts of the split, fitted anew at each origin; of series with little history the mean."""
    origins = data.origins.of(split)
    filled = carried(data, data.seasons[0], origins[-1])
    mean = np.zeros((len(origins), len(filled), data.horizon), np.float32)
    low, high = mean.copy(), mean.copy()
    engine = StatsForecast(models=[model], freq=1, n_jobs=1, fallback_model=WindowAverage(1))
    for window, origin in enumerate(origins):
        # Conformal intervals hold back two horizons; what is shorter has nothing left to learn from.
        enough = np.flatnonzero(origin + 1 - data.starts > 3 * data.horizon)
        table = _long(filled[:, : origin + 1], enough, data)
        output = engine.forecast(df=table, h=data.horizon, level=[LEVEL])
        names = [column for column in output.columns if column not in {"unique_id", "ds"}]
        shape = (len(enough), data.horizon)
        for target, name in zip((mean, low, high), sorted(names, key=_order), strict=True):
            target[window, enough] = output[name].to_numpy(np.float32).reshape(shape)
        few = np.setdiff1d(np.arange(len(filled)), enough)
        plain = np.repeat(_own_mean(data, origin)[:, None], data.horizon, axis=1)
        mean[window, few] = plain[few]
        # A method can fail on a series, one of zeros for example: then its mean is the forecast, without an interval.
        mean[window] = np.where(np.isfinite(mean[window]), mean[window], plain)
        for target in (low, high):
            target[window, few] = plain[few]
            target[window] = np.where(np.isfinite(target[window]), target[window], mean[window])
    quantiles = np.stack([np.minimum(low, mean), mean, np.maximum(high, mean)], axis=-1)
    if data.values.min() >= 0:
        mean, quantiles = np.maximum(mean, 0), np.maximum(quantiles, 0)
    return Forecasts(mean, quantiles)


def _long(values: Floats, series: np.ndarray, data: BenchSet) -> pd.DataFrame:
    begin = max(0, values.shape[1] - LOOK_BACK * max(data.seasons[-1], data.horizon))
    starts = np.maximum(data.starts[series], begin)
    pieces = [values[one, start:] for one, start in zip(series, starts, strict=True)]
    lengths = np.array([len(piece) for piece in pieces])
    return pd.DataFrame(
        {
            "unique_id": np.repeat(series, lengths),
            "ds": np.concatenate([np.arange(length) + start for length, start in zip(lengths, starts, strict=True)]),
            "y": np.concatenate(pieces),
        }
    )


def _own_mean(data: BenchSet, origin: int) -> Floats:
    """Return (N,) mean of the observed values, zero without any."""
    values, observed = data.history(origin)
    mean: Floats = (values.sum(axis=1) / np.maximum(observed.sum(axis=1), 1)).astype(np.float32)
    return mean


def _order(name: str) -> int:
    return 1 if "-lo-" in name else 2 if "-hi-" in name else 0
