"""Seasonal naive repeats the last season; for sets without one, the last value.

Quantiles are the median plus quantiles of the series' own one-season differences before the split's first origin, and
never below zero for series that never were.
"""

from collections.abc import Mapping
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics import QUANTILES, Forecasts, score
from bench.peers.base import Result, Split
from bench.sets import BenchSet, Floats


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """Choose the season on validation, among the set's seasons and 1."""
    start = process_time()
    tried = {
        season: score(data, forecast(data, season, "valid"), "valid")[data.metric]
        for season in ([chosen["season"]] if chosen else sorted({1, *data.seasons}))
    }
    season = min(tried, key=lambda season: tried[season])
    tuned = process_time()
    forecasts = forecast(data, season, "test")
    done = process_time()
    last = data.values[:1, : data.origins.test[-1] + 1]
    return Result(
        forecasts=forecasts,
        train_seconds=tuned - start,
        fit_seconds=0.0,
        predict_seconds=done - tuned,
        parameters=0,
        size=0,
        settings={"season": season},
        tried={str(season): error for season, error in tried.items()},
        single=lambda: _repeat(last, (last.shape[1] - 1,), season, data.horizon),
    )


def forecast(data: BenchSet, season: int, split: Split) -> Forecasts:
    """Return the split's forecasts with one season, in steps."""
    origins = data.origins.of(split)
    filled = carried(data, season, origins[-1])
    point = _repeat(filled, origins, season, data.horizon)
    if data.metric == "mse":
        return Forecasts(mean=point)
    values, observed = data.history(origins[0])
    both = observed[:, season:] & observed[:, :-season]
    differences = np.where(both, values[:, season:] - values[:, :-season], np.nan)
    differences[~both.any(axis=1)] = 0
    low, _, high = np.nanquantile(differences, QUANTILES, axis=1).astype(np.float32)
    floor = np.where(values.min(axis=1, where=observed, initial=np.inf) >= 0, 0, -np.inf).astype(np.float32)
    shifts = np.stack([np.minimum(low, 0), np.zeros_like(low), np.maximum(high, 0)], axis=-1)
    quantiles = np.maximum(point[..., None] + shifts[:, None], floor[:, None, None])
    return Forecasts(mean=point, quantiles=quantiles)


def carried(data: BenchSet, season: int, end: int) -> Floats:
    """Return values up to `end` with each missing one replaced by that of a season before (0 before the start)."""
    values, observed = data.history(end)
    for step in range(season, values.shape[1]):
        missing = ~observed[:, step]
        values[missing, step] = values[missing, step - season]
    return values


def _repeat(values: Floats, origins: tuple[int, ...], season: int, horizon: int) -> Floats:
    """Return (W, N, horizon): of (N, T), the season up to each origin, repeated."""
    ahead = np.arange(horizon) % season - season + 1
    index: NDArray[np.int64] = np.array(origins)[:, None] + ahead
    return np.ascontiguousarray(values[:, index].swapaxes(0, 1))
