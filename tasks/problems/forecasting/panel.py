"""A long table of rows as dense arrays, one line a series: what windows are gathered from."""

from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.base import Floats
from tasks.problems.forecasting.calendar import (
    MINUTES,
    Times,
    calendar_features,
    phases,
    public_holidays,
    steps_to_next,
)
from tasks.problems.forecasting.grid import place_rows
from tasks.problems.forecasting.options import Options

SERIES = "series"
"""The name of the raw table."""
MINUTE_OF_DAY = 1439
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a table's own time
MOMENT = pl.col("date").cast(pl.Datetime("us")).to_physical()  # numbers: a literal datetime costs .2 ms each


@dataclass(frozen=True)
class Panel:
    """N series over T steps: `context` empty ones before the first row, and the last `horizon` ones after `as_of`.

    `units` (N, T): 0 where there is no value and after `as_of`. `observed` (N, T): 1 where units are known.
    `log_price` (N or 1, T). `promotions` (N or 1, T, P): shares. `holiday` (N or 1, T): 0 or 1; `holiday_in` (N or 1,
    T): steps until the next one. One line stands for all series that share it. `calendar` (T, F). `phase` (T,):
    place in the season. `times` (T,): minutes since 1970. `names` (N,): series; `static`: column -> (N,) values.
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

    def time(self, position: int) -> datetime:
        """Begin of a step of the time axis."""
        return EPOCH + timedelta(minutes=int(self.times[position]))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The numeric arrays by field name."""
        names = (field.name for field in fields(self) if field.name not in ("names", "static"))
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
        holiday = public_holidays(times, options.country)[None].astype(np.float32)
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
    """Dense arrays of the table's rows up to the end of `as_of`, and of its known-ahead columns `horizon` steps on.

    Units after `as_of` are dropped before anything else happens. Gaps of covariates but the price are zero. `steps`:
    only so many, the last ones; a scoring needs no more than `context` + `horizon`. Raises DataError when the table has
    no rows up to `as_of`, or rows that lie between the steps of the frequency.
    """
    columns = table.collect_schema().names()
    known = [name for name in (options.price, "holiday", *options.promotions) if name and name in columns]
    end = datetime.combine(as_of, datetime.min.time()) + timedelta(minutes=MINUTE_OF_DAY)
    reach = options.horizon * timedelta(minutes=MINUTES[options.frequency])
    frame = (
        table.filter(_microseconds(end + reach) >= MOMENT)
        .select(
            "date",
            "series_id",
            *options.static,
            pl.when(_microseconds(end) >= MOMENT).then(pl.col("units")).cast(pl.Float32).alias("units"),
            *[pl.col(name).cast(pl.Float32) for name in known],
        )
        .collect(engine="streaming")
    )
    first = _moment(frame["date"].min())
    if first is None or first > end:
        raise DataError(f"table: no rows up to {as_of}")
    times = _axis(np.datetime64(first, "m"), np.datetime64(end, "m"), options)
    steps = len(times) if steps is None else steps
    times, place = times[-steps:], options.context + steps - len(times)
    passed = _steps(frame["date"], first.replace(second=0, microsecond=0), options)
    grid, frame = place_rows(frame, place + passed, steps, options.horizon)
    holiday = grid.scatter(frame["holiday"], np.nan) if "holiday" in known else None
    return make_panel(
        times,
        grid.names,
        {name: _texts(frame[name].gather(grid.newest)) for name in options.static},
        grid.scatter(frame["units"], np.nan),
        options,
        price=grid.scatter(frame[options.price], np.nan) if options.price in known and options.price else None,
        promotions=grid.scatter_all([frame[name] for name in options.promotions if name in known]),
        holiday=None if holiday is None else _shared(_filled(holiday)),
    )


def recent(table: pl.LazyFrame, as_of: date, options: Options) -> pl.LazyFrame:
    """The rows that a forecast made on `as_of` can depend on."""
    reach = options.context * timedelta(minutes=MINUTES[options.frequency])
    first = datetime.combine(as_of, datetime.max.time()) - reach
    return table.filter(_microseconds(first) < MOMENT)


def _axis(first: np.datetime64, end: np.datetime64, options: Options) -> Times:
    """Steps from `context` ones before the first row's to `horizon` ones after the last that begins up to `end`."""
    step = np.timedelta64(MINUTES[options.frequency], "m")
    steps = int((end - first) / step)
    axis: Times = first + np.arange(-options.context, steps + options.horizon + 1) * step
    return axis


def _steps(dates: pl.Series, first: datetime, options: Options) -> NDArray[np.int64]:
    """(rows,) steps since `first`. Raises DataError when a row lies between two steps."""
    length = MINUTES[options.frequency]
    if dates.dtype == pl.Date and options.whole_days:  # days are quicker to count than seconds
        passed, length = dates.to_physical().to_numpy() - (first - EPOCH).days, length // MINUTES["1d"]
    else:
        passed, length = dates.dt.epoch("s").to_numpy() - (first - EPOCH) // timedelta(seconds=1), length * 60
    step = passed // length if length > 1 else passed
    between = step * length != passed
    if between.any():
        odd = dates.cast(pl.Datetime("us"))[int(between.argmax())]
        raise DataError(f"table: {odd} is no step of problem.frequency {options.frequency}, counted from {first}")
    return step.astype(np.int64)


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _moment(found: object) -> datetime | None:
    """A day or a moment as the moment when it begins."""
    if isinstance(found, date) and not isinstance(found, datetime):
        return datetime.combine(found, datetime.min.time())
    return found if isinstance(found, datetime) else None


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
