"""Windows of a panel as model inputs: the one piece of feature code that training and scoring share."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import FeatureContract, Floats, Inputs
from tasks.problems.forecasting.calendar import calendar_names
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import Panel

UNKNOWN = "<unknown>"
PHASE = "phase"
HOLIDAY_REACH = 7

Positions = NDArray[np.int64]


def known_features(options: Options) -> tuple[str, ...]:
    """Names of the series' own covariates that are known for past and future steps alike, in order."""
    price = ("price_change",) if options.price else ()
    return (*price, *options.promotions, "holiday", "holiday_ahead")


def code_books(panel: Panel, lines: Positions, options: Options) -> dict[str, tuple[str, ...]]:
    """Values of categorical inputs in code order: the season's steps, then the static columns.

    Static values are those of the series `lines` that are trained on; code 0 is any other value.
    """
    static = {name: (UNKNOWN, *sorted(set(values[lines].tolist()))) for name, values in panel.static.items()}
    return {PHASE: tuple(map(str, range(options.season))), **static}


def make_contract(options: Options, categories: Mapping[str, tuple[str, ...]], mean_units: float) -> FeatureContract:
    """The contract of models on these windows; `mean_units`: mean size of an observed step's value in training."""
    known, calendar = known_features(options), calendar_names(options.frequency)
    return FeatureContract(
        problem="forecasting",
        inputs={
            "history": ("float32", (options.context, 2)),
            "future": ("float32", (options.horizon, len(known))),
            "static": ("int64", (len(categories),)),
            "past": ("float32", (options.context, len(known) + len(calendar))),
            "calendar": ("float32", (options.horizon, len(calendar))),
        },
        output_shape=(options.horizon, len(options.outputs)),
        categories=categories,
        statistics={"mean_units": mean_units},
        settings={
            "options": options.model_dump(mode="json"),
            "history_features": ["units", "observed"],
            "future_features": list(known),
            "calendar_features": list(calendar),
        },
    )


def encode(panel: Panel, categories: Mapping[str, tuple[str, ...]]) -> NDArray[np.int64]:
    """(N, S) codes of the panel's static columns, in the code books' order of columns."""
    codes = []
    for name, values in categories.items():
        if name == PHASE:
            continue
        book = {value: code for code, value in enumerate(values)}
        codes.append([book.get(value, 0) for value in panel.static[name].tolist()])
    return np.array(codes, dtype=np.int64).reshape(len(codes), len(panel.names)).T.copy()


def gather(
    panel: Panel,
    codes: NDArray[np.int64],
    lines: Positions,
    origins: Positions,
    options: Options,
    names: Collection[str] = (),
) -> Inputs:
    """Model inputs of n windows: series `lines` (n,), whose last known step stands at position `origins` (n,).

    history (n, context, 2): raw units, observed flag. future (n, horizon, K): covariates known ahead.
    static (n, 1 + S): place of the first future step in the season, then codes. past (n, context, K + F): known
    covariates and calendar of the past. calendar (n, horizon, F): of the future. `names`: only these, all without any.
    Prices are log ratios to the price at the origin. Steps to the next holiday are counted within the window only,
    because scoring knows no further.
    """
    past = origins[:, None] + np.arange(1 - options.context, 1)
    ahead = origins[:, None] + np.arange(1, options.horizon + 1)
    row = lines[:, None]
    inputs: Inputs = {}

    def wanted(name: str) -> bool:
        return not names or name in names

    if wanted("history"):
        inputs["history"] = np.stack([panel.units[row, past], panel.observed[row, past]], axis=2)
    if wanted("future"):
        inputs["future"] = _known(panel, lines, ahead, origins, options)
    if wanted("static"):
        phase = panel.phase[origins + 1][:, None]
        inputs["static"] = np.concatenate([phase, codes[lines]], axis=1)
    if wanted("past"):
        inputs["past"] = np.concatenate([_known(panel, lines, past, origins, options), panel.calendar[past]], axis=2)
    if wanted("calendar"):
        inputs["calendar"] = panel.calendar[ahead]
    return inputs


def targets(panel: Panel, lines: Positions, origins: Positions, options: Options) -> Floats:
    """(n, horizon) units on the steps after each origin."""
    steps = origins[:, None] + np.arange(1, options.horizon + 1)
    result: Floats = panel.units[lines[:, None], steps]
    return result


def _known(panel: Panel, lines: Positions, steps: Positions, origins: Positions, options: Options) -> Floats:
    """(n, steps, K) covariates in the order of `known_features`."""

    def of(values: NDArray[Any], at: Positions) -> NDArray[Any]:
        found: NDArray[Any] = values[lines[:, None] if len(values) > 1 else 0, at]
        return found

    wait = of(panel.holiday_in, steps)
    within = steps + wait <= origins[:, None] + options.horizon
    approach = np.where(within, np.maximum(1 - wait / HOLIDAY_REACH, 0), 0)
    parts = [of(panel.promotions, steps), of(panel.holiday, steps)[..., None], approach[..., None]]
    if options.price:
        parts.insert(0, (of(panel.log_price, steps) - of(panel.log_price, origins[:, None]))[..., None])
    return np.concatenate(parts, axis=2, dtype=np.float32)
