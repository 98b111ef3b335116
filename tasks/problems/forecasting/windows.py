"""Windows of a panel as model inputs: the one piece of feature code that training and scoring share."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import stacked
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

    Static values are those of the series `lines` that are trained on; the first code is any other value's.
    """
    static = {name: (UNKNOWN, *sorted(set(values[lines].tolist()))) for name, values in panel.static.items()}
    return {**phase_book(options), **static}


def phase_book(options: Options) -> dict[str, tuple[str, ...]]:
    """The season's steps in code order."""
    return {PHASE: tuple(map(str, range(options.season)))}


def make_contract(options: Options, categories: Mapping[str, tuple[str, ...]], mean_units: float) -> FeatureContract:
    """The contract of models on these windows; `mean_units`: mean size of an observed step's value in training."""
    known, calendar = known_features(options), calendar_names(options.frequency)
    return FeatureContract(
        problem="forecasting",
        inputs={
            "units": ("float32", (options.context,)),
            "observed": ("float32", (options.context,)),
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
            "future_features": list(known),
            "calendar_features": list(calendar),
        },
        codes={"static": stacked(categories)},
        limits={"observed": (0.0, 1.0), **({"units": (0.0, None)} if options.positive else {})},
    )


def encode(panel: Panel, categories: Mapping[str, tuple[str, ...]]) -> NDArray[np.int64]:
    """(N, S) codes of the panel's static columns, in the code books' order of columns.

    A column's codes go on where those of the column before end, so that models need one table for all.
    """
    books = [book for book in stacked(categories) if book.name != PHASE]
    codes = [book.codes("static", panel.static[book.name].tolist()) for book in books]
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

    units (n, context): as they are, 0 where not observed (n, context). future (n, horizon, K): covariates known ahead.
    static (n, 1 + S): place of the first future step in the season, then codes. past (n, context, K + F): known
    covariates and calendar of the past. calendar (n, horizon, F): of the future. `names`: only these, all without any.
    Prices are log ratios to the price at the origin. Steps to the next holiday are counted within the window only,
    because scoring knows no further.
    """
    if (origins == origins[:1]).all():
        origins = origins[:1]  # one row of steps for all windows: several times faster to take
    past = origins[:, None] + np.arange(1 - options.context, 1)
    ahead = origins[:, None] + np.arange(1, options.horizon + 1)
    inputs: Inputs = {}

    def wanted(name: str) -> bool:
        return not names or name in names

    if wanted("units"):
        inputs["units"] = _take(panel.units, lines, past)
    if wanted("observed"):
        inputs["observed"] = _take(panel.observed, lines, past)
    if wanted("future"):
        inputs["future"] = _known(panel, lines, ahead, origins, options)
    if wanted("static"):
        phase = np.broadcast_to(panel.phase[origins + 1], len(lines))[:, None]
        inputs["static"] = np.concatenate([phase, codes[lines]], axis=1)
    if wanted("past"):
        calendar = _for_all(panel.calendar[past], len(lines))
        inputs["past"] = np.concatenate([_known(panel, lines, past, origins, options), calendar], axis=2)
    if wanted("calendar"):
        inputs["calendar"] = _for_all(panel.calendar[ahead], len(lines))
    return inputs


def targets(panel: Panel, lines: Positions, origins: Positions, options: Options) -> Floats:
    """(n, horizon) units on the steps after each origin; NaN where nothing was observed."""
    at = (lines[:, None], origins[:, None] + np.arange(1, options.horizon + 1))
    result: Floats = np.where(panel.observed[at] > 0, panel.units[at], np.float32(np.nan))
    return result


def _known(panel: Panel, lines: Positions, steps: Positions, origins: Positions, options: Options) -> Floats:
    """(n, steps, K) covariates in the order of `known_features`. `steps` (n or 1, steps), `origins` (n or 1,)."""

    def of(values: NDArray[Any], at: Positions) -> NDArray[Any]:
        return _take(values, lines if len(values) > 1 else np.zeros(1, dtype=np.int64), at)

    wait = of(panel.holiday_in, steps)
    within = steps + wait <= origins[:, None] + options.horizon
    approach = np.where(within, np.maximum(1 - wait / HOLIDAY_REACH, 0), 0)
    price = int(options.price is not None)
    known = np.empty((len(lines), steps.shape[1], price + panel.promotions.shape[2] + 2), dtype=np.float32)
    if price:
        known[:, :, 0] = of(panel.log_price, steps) - of(panel.log_price, origins[:, None])
    known[:, :, price:-2] = of(panel.promotions, steps)
    known[:, :, -2] = of(panel.holiday, steps)
    known[:, :, -1] = approach
    return known


def _take(values: NDArray[Any], lines: Positions, steps: Positions) -> NDArray[Any]:
    """(n, steps, …) of (N, T, …): `lines` (n,), of each the consecutive `steps` (n or 1, steps)."""
    same = len(steps) == 1
    found: NDArray[Any] = values[lines, steps[0, 0] : steps[0, -1] + 1] if same else values[lines[:, None], steps]
    return found


def _for_all(values: Floats, count: int) -> Floats:
    """(count or 1, …) -> (count, …)."""
    return values if len(values) == count else np.repeat(values, count, axis=0)
