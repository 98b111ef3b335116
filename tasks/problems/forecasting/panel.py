"""A long table of rows as dense arrays, one line a series: what windows are gathered from."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.base import Floats
from tasks.problems.forecasting.calendar import calendar_features, phases, public_holidays, steps_to_next
from tasks.problems.forecasting.grid import place_rows
from tasks.problems.forecasting.options import Options
from tasks.tables.steps import EPOCH, Axis, Times, local

SERIES = "series"
"""The name of the raw table."""
MOMENT = pl.col("date").cast(pl.Datetime("us")).to_physical()  # numbers: a literal datetime costs .2 ms each


@dataclass(frozen=True)
class Panel:
    """N series over T steps: `context` empty ones before the first row, and the last `horizon` ones after `as_of`.

    `units` (N, T): 0 where there is no value and after `as_of`. `observed` (N, T): 1 where units are known.
    `log_price` (N or 1, T). `promotions` (N or 1, T, P): shares. `holiday` (N or 1, T): 0 or 1; `holiday_in` (N or 1,
    T): steps until the next one. One line stands for all series that share it. `calendar` (T, F). `phase` (T,):
    place in the season. `times` (T,): minutes since 1970, in UTC if there is a `zone`, in whose time calendar and phase
    are. `names` (N,): series; `static`: column -> (N,) values.
    """

    times: NDArray[np.int64]
    names: NDArray[np.str_]
    static: dict[str, NDArray[np.str_]]
    units: Floats
    observed: Floats
    log_price: Floats
    promotions: Floats
    holiday: Floats
    holiday_in: NDArray[np.int32]
    calendar: Floats
    phase: NDArray[np.int64]
    zone: str | None = None

    def time(self, position: int) -> datetime:
        """Begin of a step of the time axis, in the panel's zone."""
        begin = EPOCH + timedelta(minutes=int(self.times[position]))
        return begin if self.zone is None else begin.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The numeric arrays by field name."""
        names = (field.name for field in fields(self) if field.name not in ("names", "static", "zone"))
        return {name: getattr(self, name) for name in names}


def make_panel(
    times: Times,
    names: NDArray[np.str_],
    static: dict[str, NDArray[np.str_]],
    units: Floats,
    options: Options,
    *,
    price: Floats | None = None,
    promotions: Floats | None = None,
    holiday: Floats | None = None,
) -> Panel:
    """A panel of arrays on a common time axis; `units` (N, T) is NaN where there is no value.

    `price` (N or 1, T) may have gaps: it is carried forward over them, and backward to a series' first value. Without
    `holiday` (N or 1, T) it is computed for `options.country`; without the others they are left out.
    """
    if holiday is None:
        holiday = public_holidays(times, options.country, options.frequency)[None].astype(np.float32)
    observed = np.isfinite(units)
    return Panel(
        times=times.astype("datetime64[m]").astype(np.int64),
        names=names,
        static=static,
        units=np.where(observed, units, np.float32(0)),
        observed=observed.astype(np.float32),
        log_price=np.zeros((1, len(times)), np.float32) if price is None else np.log(np.maximum(_carried(price), 1e-6)),
        promotions=np.zeros((1, len(times), 0), np.float32) if promotions is None else promotions,
        holiday=holiday,
        holiday_in=steps_to_next(holiday > 0),
        calendar=calendar_features(times, options.frequency),
        phase=phases(times, options.frequency, options.season),
    )


def build_panel(table: pl.LazyFrame, as_of: date, options: Options, steps: int | None = None) -> Panel:
    """Dense arrays of the table's rows up to the last step known on `as_of`, and of its known-ahead columns after it.

    Units of later steps are dropped before anything else happens. Gaps of covariates but the price are zero. `steps`:
    only so many, the last ones; a scoring needs no more than `context` + `horizon`. Raises DataError when the table has
    no rows up to `as_of`, or rows that lie between the steps of the frequency.
    """
    schema = table.collect_schema()
    known = [name for name in (options.price, "holiday", *options.promotions) if name and name in schema]
    frame = (
        table.filter(options.step.reach(as_of, options.horizon, _zone(schema)) >= MOMENT)
        .select(
            "date",
            "series_id",
            *options.static,
            *[pl.col(name).cast(pl.Float32) for name in ("units", *known)],
        )
        .collect(engine="streaming")
    )
    axis = None if frame.is_empty() else Axis.of(options.step, frame["date"])
    last = -1 if axis is None else axis.last(as_of)
    if axis is None or last < 0:
        raise DataError(f"table: no rows up to {as_of}")
    number = axis.count(frame["date"])
    times = axis.at(np.arange(-options.context, last + options.horizon + 1))
    frame = frame.with_columns(pl.Series("units", np.where(number <= last, frame["units"].to_numpy(), np.nan)))
    steps = len(times) if steps is None else steps
    times, place = times[-steps:], options.context + steps - len(times)
    grid, frame = place_rows(frame, place + number, steps, options.horizon)
    holiday = grid.scatter(frame["holiday"], np.nan) if "holiday" in known else None
    panel = make_panel(
        local(times, axis.zone),
        grid.names,
        {name: _texts(frame[name].gather(grid.newest)) for name in options.static},
        grid.scatter(frame["units"], np.nan),
        options,
        price=grid.scatter(frame[options.price], np.nan) if options.price in known and options.price else None,
        promotions=grid.scatter_all([frame[name] for name in options.promotions if name in known]),
        holiday=None if holiday is None else _shared(_filled(holiday)),
    )
    return replace(panel, times=times.astype(np.int64), zone=axis.zone)


def recent(table: pl.LazyFrame, as_of: date, options: Options) -> pl.LazyFrame:
    """The rows that a forecast made on `as_of` can depend on."""
    return table.filter(options.step.reach(as_of, -options.context, _zone(table.collect_schema())) < MOMENT)


def _zone(schema: pl.Schema) -> str | None:
    """The zone of the table's moments."""
    dtype = schema["date"]
    return dtype.time_zone if isinstance(dtype, pl.Datetime) else None


def _texts(values: pl.Series) -> NDArray[np.str_]:
    """Values as text, "" where there is none."""
    texts = values.cast(pl.String)
    return (texts.fill_null("") if texts.null_count() else texts).to_numpy().astype(np.str_)


def _filled(holiday: Floats) -> Floats:
    """Gaps filled with whether any series has a holiday on that step."""
    return np.where(np.isfinite(holiday), holiday, np.nan_to_num(holiday).max(axis=0))


def _shared(values: Floats) -> Floats:
    """One line for all when all lines are equal."""
    return values[:1] if (values == values[:1]).all() else values


def _carried(values: Floats) -> Floats:
    """Gaps filled with the last value before them, leading gaps with the first value, empty lines with 1."""
    if np.isfinite(values).all():
        return values
    position = np.where(np.isfinite(values), np.arange(values.shape[1]), -1)
    latest = np.maximum.accumulate(position, axis=1)
    first = np.argmax(np.isfinite(values), axis=1)[:, None]
    filled = np.take_along_axis(values, np.where(latest < 0, first, latest), axis=1)
    return np.nan_to_num(filled, nan=1.0)
