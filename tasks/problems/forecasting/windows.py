"""Windows of a panel as model inputs: the one piece of feature code that training and scoring share."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import FeatureContract, Floats, Inputs
from tasks.problems.forecasting.calendar import CALENDAR_FEATURES
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import Panel

UNKNOWN = "<unknown>"
HOLIDAY_REACH = 7

Positions = NDArray[np.int64]


def known_features(options: Options) -> tuple[str, ...]:
    """Names of the covariates that are known for past and future days alike, in order."""
    return ("price_change", *options.promotions, "holiday", "holiday_ahead", *CALENDAR_FEATURES)


def code_books(panel: Panel, lines: Positions) -> dict[str, tuple[str, ...]]:
    """Static columns' values in code order, of the series `lines` that are trained on. Code 0 is any other value."""
    return {name: (UNKNOWN, *sorted(set(values[lines].tolist()))) for name, values in panel.static.items()}


def make_contract(options: Options, categories: Mapping[str, tuple[str, ...]], mean_units: float) -> FeatureContract:
    """The contract of models on these windows; `mean_units`: average daily units of a series in training."""
    known = known_features(options)
    return FeatureContract(
        problem="forecasting",
        inputs={
            "history": ("float32", (options.context, 2 + len(known))),
            "future": ("float32", (options.horizon, len(known))),
            "static": ("int64", (len(options.static),)),
        },
        output_shape=(options.horizon, len(options.quantiles)),
        categories=categories,
        statistics={"mean_units": mean_units},
        settings={
            "options": options.model_dump(mode="json"),
            "history_features": ["units", "observed", *known],
            "future_features": list(known),
        },
    )


def encode(panel: Panel, categories: Mapping[str, tuple[str, ...]]) -> NDArray[np.int64]:
    """(N, S) codes of the panel's static columns, in the code books' order of columns."""
    codes = []
    for name, values in categories.items():
        book = {value: code for code, value in enumerate(values)}
        codes.append([book.get(value, 0) for value in panel.static[name].tolist()])
    return np.array(codes, dtype=np.int64).reshape(len(categories), len(panel.names)).T.copy()


def gather(panel: Panel, codes: NDArray[np.int64], lines: Positions, origins: Positions, options: Options) -> Inputs:
    """Model inputs of n windows: series `lines` (n,), whose last known day stands at position `origins` (n,).

    history (n, context, 2 + K): raw units, observed flag, known covariates. future (n, horizon, K): known covariates.
    static (n, S): codes. Prices are log ratios to the price at the origin. Days to the next holiday are counted
    within the window only, because scoring knows no further days.
    """
    past = origins[:, None] + np.arange(1 - options.context, 1)
    ahead = origins[:, None] + np.arange(1, options.horizon + 1)
    row = lines[:, None]
    known = _known(panel, row, np.concatenate([past, ahead], axis=1), origins, origins + options.horizon)
    history = np.empty((len(lines), options.context, 2 + known.shape[2]), dtype=np.float32)
    history[:, :, 0] = panel.units[row, past]
    history[:, :, 1] = panel.observed[row, past]
    history[:, :, 2:] = known[:, : options.context]
    return {
        "history": history,
        "future": np.ascontiguousarray(known[:, options.context :]),
        "static": codes[lines],
    }


def targets(panel: Panel, lines: Positions, origins: Positions, options: Options) -> Floats:
    """(n, horizon) units on the days after each origin."""
    days = origins[:, None] + np.arange(1, options.horizon + 1)
    result: Floats = panel.units[lines[:, None], days]
    return result


def _known(panel: Panel, row: Positions, days: Positions, origins: Positions, end: Positions) -> Floats:
    """(n, days, K) covariates in the order of `known_features`."""
    price = panel.log_price[row, days] - panel.log_price[row[:, 0], origins][:, None]
    wait = panel.holiday_in[row, days]
    within = days + wait <= end[:, None]
    approach = np.where(within, np.maximum(1 - wait / HOLIDAY_REACH, 0), 0)
    parts = [price[..., None], panel.promotions[row, days], panel.holiday[row, days][..., None], approach[..., None]]
    return np.concatenate([*parts, panel.calendar[days]], axis=2, dtype=np.float32)
