"""These sets are files that published packages ship, read by the product's own source: any user can have them.

`traffic` and `pollution` are the gallery's workloads of these names: their file, columns and rolling origins. Weather
was measured, not forecast, and is of the past alone; a category of it is a column for each of its values.

`housing`: houses sold in 46 cities of Texas in each month of 2000 to 2015 (Texas A&M Real Estate Center), as plotnine
ships them.
"""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.sets import PROJECT, BenchSet, Floats, rolling
from tasks.config.workload import load_workload
from tasks.core.errors import DataError
from tasks.problems.forecasting.calendar import public_holidays
from tasks.problems.forecasting.options import Options, parse_options
from tasks.problems.forecasting.problem import Forecasting
from tasks.tables.sources.package import PackageSource

HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
LEAST_SHARE = 0.01
"""A category's value that fewer hours have is no column."""
HOUSING: dict[str, Any] = {
    "name": "plotnine",
    "version": "0.15.9",
    "sha256": "36f4526235b3ddd9ea379dd677093ea2ee1b58ab98adec1bde891930283448cd",
    "member": "plotnine/data/txhousing.csv",
    "columns": {"series_id": "city", "units": "sales"},
    "shape": {
        "moment": ["year", "month"],
        "missing": ["NA"],
        "without": ["volume", "median", "listings", "inventory"],
        "observed": True,
    },
}
MONTHLY: dict[str, Any] = {"frequency": "1mo", "horizon": 12, "context": 36, "season": 12, "static": [], "price": None}
ORIGINS = 12


def workload_set(name: str) -> BenchSet:
    """Return the set of a workload of one hourly series."""
    workload = load_workload(PROJECT / "params.yaml", name)
    options = parse_options(workload.problem.options)
    return hourly_set(name, _rows({**workload.source.options, "replay": False}, options), options)


def housing() -> BenchSet:
    """Return the set of months."""
    options = parse_options({**MONTHLY, "promotions": []})
    return monthly_set("housing", _rows(HOUSING, options), options)


def hourly_set(name: str, rows: pl.DataFrame, options: Options) -> BenchSet:
    """Return the set of one series' rows, whose hours may have gaps, from the first whole day to the last."""
    clock = rows["date"].to_numpy().astype("datetime64[h]")
    first, end = _midnight(clock.min() + DAY - HOUR), _midnight(clock.max() + HOUR)
    times = np.arange(first, end, HOUR)
    place, inside = ((clock - first) / HOUR).astype(np.int64), (clock >= first) & (clock < end)
    place, rows = place[inside], rows.filter(pl.Series(inside))

    def wide(column: pl.Series) -> Floats:
        found = np.full((1, len(times)), np.nan, np.float32)
        found[0, place] = column.cast(pl.Float32).to_numpy()
        return found

    origins = rolling(len(times), options.horizon, options.test_origins, options.origin_step)
    past = {column: _carried(wide(rows[column])) for column in options.covariates_known("past")}
    for column in options.categories_known("past"):
        past |= {value: _carried(wide(flags)) for value, flags in _flags(rows[column], place <= origins.train_end)}
    values, holiday = wide(rows["units"]), public_holidays(times, options.country, options.frequency)
    return BenchSet(
        name=name,
        series=np.array([name]),
        values=np.nan_to_num(values),
        observed=np.isfinite(values),
        times=times.astype("datetime64[us]"),
        frequency="h",
        seasons=(24, 168),
        horizon=options.horizon,
        context=options.context,
        metric="wape",
        origins=origins,
        known={"holiday": holiday[None].astype(np.float32)} if holiday.any() else {},
        past=past,
    )


def monthly_set(name: str, rows: pl.DataFrame, options: Options) -> BenchSet:
    """Return the set of many series' rows; each month from the first to the last is a step."""
    month = rows["date"].to_numpy().astype("datetime64[M]")
    times = np.arange(month.min(), month.max() + 1)
    names, line = np.unique(rows["series_id"].to_numpy().astype(np.str_), return_inverse=True)
    values = np.full((len(names), len(times)), np.nan, np.float32)
    values[line, (month - times[0]).astype(np.int64)] = rows["units"].cast(pl.Float32).to_numpy()
    return BenchSet(
        name=name,
        series=names,
        values=np.nan_to_num(values),
        observed=np.isfinite(values),
        times=times.astype("datetime64[us]"),
        frequency="MS",
        seasons=(options.season,),
        horizon=options.horizon,
        context=options.context,
        metric="wape",
        origins=rolling(len(times), options.horizon, ORIGINS, 1),
    )


def _rows(source: dict[str, Any], options: Options) -> pl.DataFrame:
    (contract,) = Forecasting(options.model_dump()).tables()
    snapshot = PackageSource(source, contract, PROJECT).fetch(date.max)
    if snapshot.unreadable:
        raise DataError(f"{source['member']}: {', '.join(snapshot.unreadable.values())}")
    return snapshot.tables[contract.name].sort("date")


def _midnight(hour: np.datetime64) -> np.datetime64:
    day: np.datetime64 = hour.astype("datetime64[D]").astype("datetime64[h]")
    return day


def _flags(column: pl.Series, early: NDArray[np.bool_]) -> list[tuple[str, pl.Series]]:
    """Return a name and its flags for each value that enough of the early rows have, the others' being all zero."""
    shares = column.filter(pl.Series(early)).value_counts(normalize=True).drop_nulls().sort(column.name)
    often = shares.filter(pl.col("proportion") >= LEAST_SHARE)[column.name]
    return [(f"{column.name}_{value.lower()}", column == value) for value in often]


def _carried(values: Floats) -> Floats:
    """Return values (1, T) with each missing one replaced by the newest before it; before the first one by that."""
    filled = pl.Series(values[0]).fill_nan(None).forward_fill().backward_fill()
    return filled.to_numpy()[None].copy()
