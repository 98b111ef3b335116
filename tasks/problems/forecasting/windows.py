"""Windows of a panel become model inputs here: training and scoring share this one piece of feature code."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import stacked
from tasks.core.errors import DataError
from tasks.problems.base import FeatureContract, Floats, Inputs
from tasks.problems.forecasting.calendar import calendar_names
from tasks.problems.forecasting.covariates import KNOWN, Covariate
from tasks.problems.forecasting.options import Options
from tasks.problems.forecasting.panel import Panel

UNKNOWN = "<unknown>"
PHASE = "phase"
HOLIDAY_REACH = 7
MOST_VALUES = 50
"""A changing column of categories has at most so many values: each is a feature of every step."""
NO_STATISTICS: Mapping[str, Any] = MappingProxyType({})

Positions = NDArray[np.int64]


def known_features(options: Options, values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the series' own covariates that are known for past and future steps alike, in order.

    `values`: of each column of categories that change over time, those that training saw.
    """
    kinds = _kind_features(options.categories_known("ahead"), values)
    return (*options.covariate_features("ahead"), *kinds, *options.numbers, "holiday", "holiday_ahead")


def past_features(options: Options, values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the names of the covariates that are known up to the origin alone, in order."""
    return (*options.covariate_features("past"), *_kind_features(options.categories_known("past"), values))


def _kind_features(columns: Iterable[str], values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return one name a value: 1 on steps of that value, so that a value that training did not see is none of them."""
    return tuple(f"{column}={value}" for column in columns for value in values[column])


def code_books(panel: Panel, lines: Positions, options: Options) -> dict[str, tuple[str, ...]]:
    """Return the values of categorical inputs in code order: the season's steps, then the static columns.

    Static values are those of the series `lines` that are trained on; the first code is any other value's.
    """
    static = {name: (UNKNOWN, *sorted(set(values[lines].tolist()))) for name, values in panel.static.items()}
    return {**phase_book(options), **static}


def phase_book(options: Options) -> dict[str, tuple[str, ...]]:
    """Return the season's steps in code order."""
    return {PHASE: tuple(map(str, range(options.season)))}


def statistics_of(panel: Panel, lines: Positions, end: int, options: Options) -> dict[str, Any]:
    """Return numbers of the training split: the series `lines`, on the steps before position `end`.

    `mean_units`: mean size of an observed step's value. `means`, `deviations`: of features that are normalised, or that
    need a value where none is known. `values`: column of categories -> its values, sorted. What is empty is left out.
    Raises DataError when all units are zero, or a column of categories has more values than can be features.
    """
    known = max(panel.observed[:, :end].sum(), 1)
    found: dict[str, Any] = {"mean_units": float(np.abs(panel.units[:, :end]).sum() / known)}
    if found["mean_units"] <= 0:
        raise DataError("table: units are zero in all of the training period")
    means, deviations = dict[str, float](), dict[str, float]()

    def measure(name: str, values: Floats, normalised: bool) -> None:
        seen = values[np.isfinite(values)].astype(np.float64)
        means[name] = float(seen.mean()) if len(seen) else 0.0
        if normalised:
            deviations[name] = (float(seen.std()) if len(seen) else 0.0) or 1.0

    for which, array in zip(KNOWN, (panel.ahead, panel.behind), strict=True):
        for place, (column, covariate) in enumerate(options.covariates_known(which).items()):
            if covariate.uses_mean:
                shown = array[lines if len(array) > 1 else slice(None), :end, place]
                measure(column, shown, covariate.transform == "standard")
    for place, column in enumerate(options.numbers):
        measure(column, panel.numbers[lines, place], normalised=True)
    values = {}
    for place, column in enumerate((*options.categories_known("ahead"), *options.categories_known("past"))):
        shown = np.unique(panel.kinds[lines if len(panel.kinds) > 1 else slice(None), :end, place])
        values[column] = panel.values[column][shown[shown >= 0]].tolist()
        if len(values[column]) > MOST_VALUES:
            raise DataError(
                f"table: {column} has {len(values[column])} values, of which {MOST_VALUES} at most can be features; "
                "group them, or name the column in problem.static if it is fixed by series"
            )
    return found | {
        name: part for name, part in (("means", means), ("deviations", deviations), ("values", values)) if part
    }


def draft_statistics(options: Options) -> dict[str, Any]:
    """Return statistics as from `statistics_of` before there are data: each column of categories has one value."""
    every = {name: one for known in KNOWN for name, one in options.covariates_known(known).items() if one.uses_mean}
    normalised = [name for name, one in every.items() if one.transform == "standard"]
    return {
        "mean_units": 1.0,
        "means": dict.fromkeys((*every, *options.numbers), 0.0),
        "deviations": dict.fromkeys((*normalised, *options.numbers), 1.0),
        "values": {column: [UNKNOWN] for column in options.categories},
    }


def make_contract(
    options: Options, categories: Mapping[str, tuple[str, ...]], statistics: Mapping[str, Any]
) -> FeatureContract:
    """Return the contract of models on these windows. `statistics`: see `statistics_of`."""
    values = statistics.get("values", {})
    known, behind = known_features(options, values), past_features(options, values)
    calendar = calendar_names(options.frequency)
    return FeatureContract(
        problem="forecasting",
        inputs={
            "units": ("float32", (options.context,)),
            "observed": ("float32", (options.context,)),
            "future": ("float32", (options.horizon, len(known))),
            "static": ("int64", (len(categories),)),
            "past": ("float32", (options.context, len(known) + len(behind) + len(calendar))),
            "calendar": ("float32", (options.horizon, len(calendar))),
        },
        output_shape=(options.horizon, len(options.outputs)),
        categories=categories,
        statistics=dict(statistics),
        settings={
            "options": options.model_dump(mode="json"),
            "future_features": list(known),
            "past_features": list(behind),
            "calendar_features": list(calendar),
        },
        codes={"static": stacked(categories)},
        limits={"observed": (0.0, 1.0), **({"units": (0.0, None)} if options.positive else {})},
    )


def encode(panel: Panel, categories: Mapping[str, tuple[str, ...]]) -> NDArray[np.int64]:
    """Return (N, S) codes of the panel's static columns, in the code books' order of columns.

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
    statistics: Mapping[str, Any] = NO_STATISTICS,
) -> Inputs:
    """Return model inputs of n windows: series `lines` (n,), with the last known step at position `origins` (n,).

    units (n, context): as they are, 0 where not observed (n, context). future (n, horizon, K): covariates known ahead.
    static (n, 1 + S): place of the first future step in the season, then codes. past (n, context, K + P + F): the same
    covariates, those of the past alone, and calendar. calendar (n, horizon, F): of the future. `names`: only these, all
    without any. `statistics`: the contract's. Ratios are logarithms of those to the value at the origin. A value that
    is missing is the last one before it in the window; a companion feature says so. Steps to the next holiday are
    counted within the window only, because scoring knows no further.
    """
    if (origins == origins[:1]).all():
        origins = origins[:1]  # one row of steps for all windows: several times faster to take
    steps = origins[:, None] + np.arange(1 - options.context, options.horizon + 1)
    past, ahead = steps[:, : options.context], steps[:, options.context :]
    inputs: Inputs = {}

    def wanted(name: str) -> bool:
        return not names or name in names

    if wanted("units"):
        inputs["units"] = _take(panel.units, lines, past)
    if wanted("observed"):
        inputs["observed"] = _take(panel.observed, lines, past)
    if wanted("future") or wanted("past"):
        begin = 0 if wanted("past") else options.context - 1
        known = _known(panel, lines, steps, begin, options, statistics)
    if wanted("future"):
        inputs["future"] = np.ascontiguousarray(known[:, -options.horizon :])
    if wanted("static"):
        phase = np.broadcast_to(panel.phase[origins + 1], len(lines))[:, None]
        inputs["static"] = np.concatenate([phase, codes[lines]], axis=1)
    if wanted("past"):
        calendar = _for_all(panel.calendar[past], len(lines))
        behind = _behind(panel, lines, past, options, statistics)
        inputs["past"] = np.concatenate([known[:, : options.context], *behind, calendar], axis=2)
    if wanted("calendar"):
        inputs["calendar"] = _for_all(panel.calendar[ahead], len(lines))
    return inputs


def targets(panel: Panel, lines: Positions, origins: Positions, options: Options) -> Floats:
    """Return (n, horizon) units on the steps after each origin; NaN where nothing was observed."""
    at = (lines[:, None], origins[:, None] + np.arange(1, options.horizon + 1))
    result: Floats = np.where(panel.observed[at] > 0, panel.units[at], np.float32(np.nan))
    return result


def _known(
    panel: Panel, lines: Positions, steps: Positions, begin: int, options: Options, statistics: Mapping[str, Any]
) -> Floats:
    """Return (n, steps from `begin` on, K) covariates as in `known_features`. `steps` (n or 1, context + horizon).

    `begin`: up to the origin's place, so that ratios can be made.
    """
    shown, last = steps[:, begin:], steps[:, -1:]
    own = _series(panel.ahead, lines, steps, begin, options.context - 1, options.covariates_known("ahead"), statistics)
    kinds = _one_hot(panel, lines, shown, options.categories_known("ahead"), 0, statistics)
    width = sum(part.shape[2] for part in (*own, *kinds)) + len(options.numbers)
    known = np.empty((len(lines), shown.shape[1], width + 2), dtype=np.float32)
    place = 0
    for part in (*own, *kinds):
        known[:, :, place : place + part.shape[2]] = part
        place += part.shape[2]
    known[:, :, place:-2] = panel.numbers[lines][:, None]
    wait = _of(panel.holiday_in, lines, shown)
    known[:, :, -2] = _of(panel.holiday, lines, shown)
    known[:, :, -1] = np.where(shown + wait <= last, np.maximum(1 - wait / HOLIDAY_REACH, 0), 0)
    return known


def _behind(
    panel: Panel, lines: Positions, past: Positions, options: Options, statistics: Mapping[str, Any]
) -> list[Floats]:
    """Return parts of (n, context, P), the covariates in the order of `past_features`."""
    first = len(options.categories_known("ahead"))
    covariates = options.covariates_known("past")
    parts = [
        *_series(panel.behind, lines, past, 0, options.context - 1, covariates, statistics),
        *_one_hot(panel, lines, past, options.categories_known("past"), first, statistics),
    ]
    return [_for_all(part, len(lines)) for part in parts]


def _series(
    array: Floats,
    lines: Positions,
    steps: Positions,
    begin: int,
    origin: int,
    covariates: Mapping[str, Covariate],
    statistics: Mapping[str, Any],
) -> list[Floats]:
    """Return (n or 1, steps from `begin` on, covariates) of (N or 1, T, covariates) or nothing, as models see them.

    Where one may be missing, parts of it, each followed by its companion. `origin`: its place among `steps`.
    """
    if not covariates:
        return []
    found = _of(array, lines, steps[:, begin:])
    gaps = ~np.isfinite(found)
    if gaps.any():  # what is carried on may have been before `begin`
        means = statistics.get("means", {})
        starts = [means.get(column, 0.0) if one.uses_mean else None for column, one in covariates.items()]
        whole = _of(array, lines, steps)
        for place, start in enumerate(starts):
            found[:, :, place] = carried(whole[:, :, place], start)[:, begin:]
    for place, one in enumerate(covariates.values()):
        if one.transform == "log-ratio":
            found[:, :, place] -= found[:, origin - begin, place, None].copy()
    missing = [place for place, one in enumerate(covariates.values()) if one.missing]
    if not missing:
        return [found]
    parts, done = [], 0
    for place in missing:
        parts += [found[:, :, done : place + 1], gaps[:, :, place : place + 1].astype(np.float32)]
        done = place + 1
    return [*parts, found[:, :, done:]]


def carried(values: Floats, start: float | None) -> Floats:
    """Return (n, steps) with each gap filled by the last value before it, or by `start`.

    Without a `start`, steps before the first value get that value, and a line without any gets zeros.
    """
    seen = np.isfinite(values)
    if seen.all():
        return values
    latest = np.maximum.accumulate(np.where(seen, np.arange(values.shape[1]), -1), axis=1)
    if start is None:
        latest = np.where(latest < 0, seen.argmax(axis=1)[:, None], latest)
    filled = np.take_along_axis(values, np.maximum(latest, 0), axis=1)
    if start is None:
        return np.nan_to_num(filled, nan=0.0)
    return np.where(latest < 0, np.float32(start), filled)


def _one_hot(
    panel: Panel, lines: Positions, steps: Positions, columns: Sequence[str], first: int, statistics: Mapping[str, Any]
) -> list[Floats]:
    """Return (n or 1, steps, values) of each column: 1 on the steps of a value, all 0 where it is another or none.

    `first`: place of the first column among the panel's.
    """
    parts = []
    for place, column in enumerate(columns, start=first):
        known = np.asarray(statistics["values"][column], dtype=np.str_)
        table = (panel.values[column][:, None] == known).astype(np.float32)
        table = np.concatenate([table, np.zeros((1, len(known)), np.float32)])  # the place -1
        parts.append(table[_of(panel.kinds[:, :, place], lines, steps)])
    return parts


def _of(values: NDArray[Any], lines: Positions, steps: Positions) -> NDArray[Any]:
    """Return (n or 1, steps, …) of (N or 1, T, …)."""
    return _take(values, lines if len(values) > 1 else np.zeros(1, dtype=np.int64), steps)


def _take(values: NDArray[Any], lines: Positions, steps: Positions) -> NDArray[Any]:
    """Return (n, steps, …) of (N, T, …): `lines` (n,), of each the consecutive `steps` (n or 1, steps)."""
    same = len(steps) == 1
    found: NDArray[Any] = values[lines, steps[0, 0] : steps[0, -1] + 1] if same else values[lines[:, None], steps]
    return found


def _for_all(values: Floats, count: int) -> Floats:
    """Repeat (count or 1, …) to (count, …)."""
    return values if len(values) == count else np.repeat(values, count, axis=0)
