"""Errors of quantile forecasts, and the naive forecast that they must beat."""

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Floats, Score


def seasonal_naive(units: Floats, horizon: int, season: int, quantiles: tuple[float, ...]) -> Floats:
    """(n, horizon, Q) from past units (n, context): the last season, repeated.

    Quantiles around it are those of the window's own seasonal differences, u[t] - u[t - season]; the median is the
    repeated value itself, and nothing falls below zero.
    """
    repeats = -(-horizon // season)
    last = np.tile(units[:, -season:], (1, repeats))[:, :horizon]
    differences = units[:, season:] - units[:, :-season]
    spread = np.quantile(differences, quantiles, axis=1).T.astype(np.float32)
    spread[:, quantiles.index(0.5)] = 0
    below, above = np.array(quantiles) < 0.5, np.array(quantiles) > 0.5
    spread[:, below] = np.minimum(spread[:, below], 0)
    spread[:, above] = np.maximum(spread[:, above], 0)
    result: Floats = np.maximum(last[:, :, None] + spread[:, None, :], 0)
    return result


def score_quantiles(output: Floats, target: NDArray[np.floating], quantiles: tuple[float, ...]) -> Score:
    """WAPE of the median, sum |y - p50| / sum |y|, with loss and weight by row.

    Metrics: pinball (mean over quantiles, days and rows of max(q (y - f), (q - 1)(y - f)), over mean |y|), rmse of the
    median (units), bias (sum (p50 - y) / sum |y|), coverage (share of y between the outermost quantiles).
    """
    actual = target.astype(np.float64)
    forecast = output.astype(np.float64)
    median = forecast[:, :, quantiles.index(0.5)]
    size = np.abs(actual).mean()
    gap = actual[:, :, None] - forecast
    levels = np.array(quantiles)
    inside = (actual >= forecast[:, :, 0]) & (actual <= forecast[:, :, -1])
    return Score(
        loss=np.abs(actual - median).sum(axis=1),
        weight=np.abs(actual).sum(axis=1),
        metrics={
            "pinball": float(np.maximum(levels * gap, (levels - 1) * gap).mean() / size),
            "rmse": float(np.sqrt(((median - actual) ** 2).mean())),
            "bias": float((median - actual).mean() / size),
            "coverage": float(inside.mean()),
        },
    )
