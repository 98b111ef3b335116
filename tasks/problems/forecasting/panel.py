"""A long table of daily rows as dense arrays, one line a series: what windows are gathered from."""

from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.errors import DataError
from tasks.problems.base import Floats
from tasks.problems.forecasting.calendar import Days, calendar_features, days_to_next, public_holidays
from tasks.problems.forecasting.options import Options


@dataclass(frozen=True)
class Panel:
    """N series over T days: `context` empty ones before the first row, and the last `horizon` ones after `as_of`.

    `units` (N, T): 0 where there is no value and after `as_of`. `observed` (N, T): 1 where units are known.
    `log_price` (N, T). `promotions` (N, T, P): shares. `holiday` (N, T): 0 or 1; `holiday_in` (N, T): days until the
    next one. `calendar` (T, 9). `days` (T,): days since 1970. `names` (N,): series; `static`: column -> (N,) values.
    """

    days: NDArray[np.int64]
    names: NDArray[np.str_]
    static: dict[str, NDArray[np.str_]]
    units: Floats
    observed: Floats
    log_price: Floats
    promotions: Floats
    holiday: Floats
    holiday_in: NDArray[np.int32]
    calendar: Floats

    def day(self, position: int) -> date:
        """Date of a position on the time axis."""
        return date(1970, 1, 1) + timedelta(days=int(self.days[position]))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The numeric arrays by field name."""
        names = (field.name for field in fields(self) if field.name not in ("names", "static"))
        return {name: getattr(self, name) for name in names}


def build_panel(table: pl.LazyFrame, as_of: date, options: Options) -> Panel:
    """Dense arrays of the table's rows up to `as_of`, and of its known-ahead columns up to `horizon` days later.

    Units after `as_of` are dropped before anything else happens. Price is carried forward over gaps (and backward to a
    series' first row); other gaps are zero. Raises DataError when the table has no rows up to `as_of`.
    """
    end = as_of + timedelta(days=options.horizon)
    columns = table.collect_schema().names()
    known = [name for name in (options.price, "holiday", *options.promotions) if name and name in columns]
    frame = (
        table.select(
            pl.col("date").cast(pl.Date),
            pl.col("series_id").cast(pl.String),
            *[pl.col(name).cast(pl.String).fill_null("") for name in options.static],
            pl.when(pl.col("date") <= as_of).then(pl.col("units")).cast(pl.Float32).alias("units"),
            *[pl.col(name).cast(pl.Float32) for name in known],
        )
        .filter(pl.col("date") <= end)
        .collect(engine="streaming")
    )
    history = frame.filter(pl.col("date") <= as_of)
    if history.is_empty():
        raise DataError(f"table: no rows up to {as_of}")
    newest = [pl.col(name).sort_by("date").last() for name in options.static]
    series = history.group_by("series_id").agg(newest).sort("series_id")
    index = series.select("series_id", pl.int_range(pl.len()).alias("line"))
    start = history["date"].min()
    assert isinstance(start, date)
    first = start - timedelta(days=options.context)
    days: Days = np.arange(np.datetime64(first), np.datetime64(end) + 1)
    placed = frame.join(index, on="series_id", how="inner")
    line = placed["line"].to_numpy()
    column = (placed["date"].to_physical().to_numpy() - days[0].astype(np.int64)).astype(np.int64)
    shape = (series.height, len(days))

    def scatter(name: str) -> Floats:
        values = np.full(shape, np.nan, dtype=np.float32)
        values[line, column] = placed[name].to_numpy()
        return values

    units = scatter("units")
    if "holiday" in known:
        given = scatter("holiday")
        holiday = np.where(np.isfinite(given), given, np.nan_to_num(given).max(axis=0))
    else:
        holiday = np.broadcast_to(public_holidays(days, options.country), shape).astype(np.float32)
    promotions = [np.nan_to_num(scatter(name)) for name in options.promotions if name in known]
    price = _carried(scatter(options.price)) if options.price in known and options.price else np.ones(shape, np.float32)
    return Panel(
        days=days.astype(np.int64),
        names=series["series_id"].to_numpy().astype(np.str_),
        static={name: series[name].to_numpy().astype(np.str_) for name in options.static},
        units=np.nan_to_num(units),
        observed=np.isfinite(units).astype(np.float32),
        log_price=np.log(np.maximum(price, 1e-6)),
        promotions=np.stack(promotions, axis=-1) if promotions else np.zeros((*shape, 0), np.float32),
        holiday=holiday,
        holiday_in=days_to_next(holiday > 0),
        calendar=calendar_features(days),
    )


def _carried(values: Floats) -> Floats:
    """Gaps filled with the last value before them, leading gaps with the first value, empty lines with 1."""
    position = np.where(np.isfinite(values), np.arange(values.shape[1]), -1)
    latest = np.maximum.accumulate(position, axis=1)
    first = np.argmax(np.isfinite(values), axis=1)[:, None]
    filled = np.take_along_axis(values, np.where(latest < 0, first, latest), axis=1)
    return np.nan_to_num(filled, nan=1.0)
