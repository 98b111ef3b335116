"""A benchmark set as the product's dataset, and the product's forecasts as the benchmark's."""

from collections.abc import Callable, Sequence

import numpy as np

from bench.metrics import QUANTILES, Forecasts
from bench.sets import BenchSet, Floats
from tasks.problems.base import Floats as Outputs
from tasks.problems.base import Inputs, Split
from tasks.problems.forecasting.dataset import Windows, build_windows
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import Columns, as_told, make_panel

FREQUENCIES = {"D": "1d", "W-FRI": "1w", "h": "1h", "30min": "30m", "15min": "15m", "10min": "10m"}
CHUNK = 16_384
VALID_ORIGINS = 300


def windows_of(data: BenchSet, options: Options) -> Windows:
    """The set's windows under the product's contract; test values are not in them when `data` is sealed.

    Training origins lie `options.stride` steps apart and end a horizon before the first validation origin. Of very many
    validation origins about 300, spread evenly, are used.
    """
    step = np.median(np.diff(data.times)).astype("timedelta64[m]")
    before = data.times[0] - step * np.arange(options.context, 0, -1)
    times = np.concatenate([before, data.times])

    def padded(array: Floats, value: float) -> Floats:
        result: Floats = np.pad(array, ((0, 0), (options.context, 0)), constant_values=value)
        return result

    units = padded(np.where(data.observed, data.values, np.nan).astype(np.float32), np.nan)
    known = [
        as_told(padded(data.known[name], np.nan).astype(np.float32), covariate)
        for name, covariate in options.covariates_known("ahead").items()
    ]
    shape = (max((len(array) for array in known), default=1), len(times))
    panel = make_panel(
        times.astype("datetime64[m]"),
        data.series,
        {name: data.static[name].astype(np.str_) for name in options.static},
        units,
        options,
        columns=Columns(np.stack([np.broadcast_to(array, shape) for array in known], axis=2) if known else None),
        holiday=padded(data.known["holiday"], 0) if "holiday" in data.known else None,
    )
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
    """Names of the covariates known ahead, but for holiday and price, in the order of `windows_of`."""
    return tuple(name for name in data.known if name not in ("holiday", price))


def forecasts_of(
    windows: Windows, data: BenchSet, model: Callable[[Inputs], Outputs], names: Sequence[str]
) -> Forecasts:
    """The model's forecasts of all test windows; zero for series that had not begun."""
    options, rows = windows.options, windows.splits["test"]
    place = {origin + options.context: number for number, origin in enumerate(data.origins.test)}
    at = np.array([place[origin] for origin in windows.origins[rows].tolist()])
    shape = (len(place), len(data.series), options.horizon, len(options.outputs))
    outputs = np.zeros(shape, np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        outputs[at[part], windows.lines[rows[part]]] = model(windows.inputs(rows[part], names))
    if options.metric == "mse":
        return Forecasts(mean=outputs[..., 0])
    quantiles = np.ascontiguousarray(outputs[..., : len(QUANTILES)])
    return Forecasts(mean=outputs[..., -1] if options.mean else None, quantiles=quantiles)
