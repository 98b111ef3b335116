"""One scorer serves every competitor: errors of forecasts on a split's windows, without steps that lack an observation.

With y the actual, f a forecast, and sums over all windows, series and steps:

- `wape` = sum |y - f50| / sum |y|, of the median.
- `wql` = mean over q of 2 sum rho_q(y - fq) / sum |y|, rho_q(u) = max(q u, (q - 1) u): pinball scaled by volume. The
  weighted quantile loss of GluonTS (Alexandrov et al. 2020); for one forecast of the median it equals the WAPE.
- `coverage`: share of y between the 10 % and the 90 % quantile; 0.8 is right.
- `rmsse`: of the mean forecast (Makridakis et al. 2022, M5): for a window and series the root of the mean squared error
  over the mean squared one-step difference of its values up to the origin; the mean of all, unweighted. Series
  that never moved before the origin have no scale and are left out.
- `mse`, `mae`: of the mean forecast, in the set's own units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.sets import BenchSet, Floats
from tasks.core.errors import DataError

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Forecasts:
    """Forecasts are `mean` (W, N, horizon) and `quantiles` (W, N, horizon, 3), for QUANTILES; at least one of them.

    W windows in the order of the split's origins, N series in the order of the set.
    """

    mean: Floats | None = None
    quantiles: Floats | None = None


def score(data: BenchSet, forecasts: Forecasts, split: Literal["valid", "test"] = "test") -> dict[str, float]:
    """Return every error that the forecasts allow, by name: see the module.

    Raises DataError on forecasts of another shape, and on those that are not finite where something was observed.
    """
    origins = data.origins.of(split)
    actual, observed = data.targets(origins)
    for name, array, shape in (
        ("mean", forecasts.mean, actual.shape),
        ("quantiles", forecasts.quantiles, (*actual.shape, len(QUANTILES))),
    ):
        if array is not None and array.shape != shape:
            raise DataError(f"{data.name}: {name}: forecasts are {array.shape}, the {split} windows are {shape}")
        if array is not None and not np.isfinite(array[observed]).all():
            raise DataError(f"{data.name}: {name}: a forecast is not a finite number")
    if forecasts.mean is None and forecasts.quantiles is None:
        raise DataError(f"{data.name}: neither mean nor quantiles were forecast")
    errors: dict[str, float] = {}
    if forecasts.quantiles is not None:
        errors |= _of_quantiles(actual[observed], forecasts.quantiles[observed])
    if forecasts.mean is not None:
        error = forecasts.mean[observed].astype(np.float64) - actual[observed]
        errors |= {"mse": float((error**2).mean()), "mae": float(np.abs(error).mean())}
        if data.metric != "mse":
            errors["rmsse"] = _rmsse(data, origins, forecasts.mean, actual, observed)
    return errors


def _of_quantiles(actual: Floats, quantiles: Floats) -> Mapping[str, float]:
    """Return the errors of quantiles, from (n,) and (n, Q)."""
    volume = np.abs(actual).sum(dtype=np.float64)
    gap = actual[:, None].astype(np.float64) - quantiles
    levels = np.array(QUANTILES)
    inside = (gap[:, 0] >= 0) & (gap[:, -1] <= 0)
    return {
        "wape": float(np.abs(gap[:, QUANTILES.index(0.5)]).sum() / volume),
        "wql": float(2 * np.maximum(levels * gap, (levels - 1) * gap).sum() / len(QUANTILES) / volume),
        "coverage": float(inside.mean()),
    }


def _rmsse(
    data: BenchSet, origins: tuple[int, ...], mean: Floats, actual: Floats, observed: NDArray[np.bool_]
) -> float:
    ratios = []
    for window, origin in enumerate(origins):
        scale = naive_scale(data, origin)
        error = np.where(observed[window], mean[window].astype(np.float64) - actual[window], 0)
        count = observed[window].sum(axis=1)
        usable = (scale > 0) & (count > 0)
        ratios.append(np.sqrt((error**2).sum(axis=1)[usable] / count[usable] / scale[usable]))
    return float(np.concatenate(ratios).mean())


def naive_scale(data: BenchSet, origin: int) -> NDArray[np.float64]:
    """Return RMSSE's denominator (N,): mean squared difference of neighbouring observed values up to `origin`, or 0."""
    values, seen = data.history(origin)
    pairs = seen[:, 1:] & seen[:, :-1]
    steps = np.square(np.diff(values.astype(np.float64), axis=1), where=pairs, out=np.zeros(pairs.shape))
    scale: NDArray[np.float64] = steps.sum(axis=1) / np.maximum(pairs.sum(axis=1), 1)
    return scale
