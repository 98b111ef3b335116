"""A long table of rows as dense arrays, one line a series: what windows are gathered from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
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
from tasks.problems.forecasting.covariates import KNOWN, Covariate
from tasks.problems.forecasting.grid import Grid, place_rows
from tasks.problems.forecasting.options import Options

SERIES = "series"
"""The name of the raw table."""
MINUTE_OF_DAY = 1439
LEAST_PRICE = 1e-6
"""Of values of which a ratio is made."""
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a table's own time
MOMENT = pl.col("date").cast(pl.Datetime("us")).to_physical()  # numbers: a literal datetime costs .2 ms each


@dataclass(frozen=True)
class Columns:
    """Columns beside the target, in the options' order.

    `ahead`, `behind` (N or 1, T, columns): `as_told`. `numbers` (N, columns). `kinds`: column -> its values, and
    (N or 1, T) places among them, -1 for none.
    """

    ahead: Floats | None = None
    behind: Floats | None = None
    numbers: Floats | None = None
    kinds: Mapping[str, tuple[NDArray[np.str_], NDArray[np.int32]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """N series over T steps: `context` empty ones before the first row, and the last `horizon` ones after `as_of`.

    `units` (N, T): 0 where there is no value and after `as_of`. `observed` (N, T): 1 where units are known.
    `ahead` (N or 1, T, A), `behind` (N or 1, T, B): covariates known ahead, and up to `as_of` alone; logarithms where
    they become ratios; NaN where there is no value, but 0 of plain numbers that cannot be missing. `numbers` (N, M).
    `kinds` (N or 1, T, C): place of each category among its column's `values`, -1 for none; those known ahead first.
    `holiday` (N or 1, T): 0 or 1; `holiday_in` (N or 1, T): steps until the next one. One line stands for all series
    that share it. `calendar` (T, F). `phase` (T,): place in the season. `times` (T,): minutes since 1970. `names`
    (N,): series; `static`: column -> (N,) values.
    """

    times: NDArray[np.int64]
    names: NDArray[np.str_]
    static: dict[str, NDArray[np.str_]]
    values: dict[str, NDArray[np.str_]]
    units: Floats
    observed: Floats
    ahead: Floats
    behind: Floats
    numbers: Floats
    kinds: NDArray[np.int32]
    holiday: Floats
    holiday_in: NDArray[np.int32]
    calendar: Floats
    phase: NDArray[np.int64]

    def time(self, position: int) -> datetime:
        """Begin of a step of the time axis."""
        return EPOCH + timedelta(minutes=int(self.times[position]))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The numeric arrays by field name."""
        names = (each.name for each in fields(self) if each.name not in ("names", "static", "values"))
        return {name: getattr(self, name) for name in names}


def make_panel(
    times: Times,
    names: NDArray[np.str_],
    static: dict[str, NDArray[np.str_]],
    units: Floats,
    options: Options,
    *,
    columns: Columns | None = None,
    holiday: Floats | None = None,
) -> Panel:
    """A panel of arrays on a common time axis; `units` (N, T) is NaN where there is no value.

    `columns`: all those that the options name beside `static`. Without `holiday` (N or 1, T) it is computed for
    `options.country`.
    """
    columns = columns or Columns()
    if holiday is None:
        holiday = public_holidays(times, options.country)[None].astype(np.float32)
    observed, none = np.isfinite(units), np.zeros((1, len(times), 0), np.float32)
    kinds = [columns.kinds[name][1] for known in KNOWN for name in options.categories_known(known)]
    return Panel(
        times=times.astype("datetime64[m]").astype(np.int64),
        names=names,
        static=static,
        values={name: values for name, (values, _) in columns.kinds.items()},
        units=np.where(observed, units, np.float32(0)),
        observed=observed.astype(np.float32),
        ahead=none if columns.ahead is None else columns.ahead,
        behind=none if columns.behind is None else columns.behind,
        numbers=np.zeros((len(names), 0), np.float32) if columns.numbers is None else columns.numbers,
        kinds=np.stack(kinds, axis=2) if kinds else np.zeros((1, len(times), 0), np.int32),
        holiday=holiday,
        holiday_in=steps_to_next(holiday > 0),
        calendar=calendar_features(times, options.frequency),
        phase=phases(times, options.frequency, options.season),
    )


def gap_of(covariate: Covariate) -> float:
    """What stands where a covariate has no value: see `Panel.ahead`."""
    return 0.0 if covariate.transform == "none" and not covariate.missing else np.nan


def as_told(values: Floats, covariate: Covariate) -> Floats:
    """Values of a covariate, NaN where there is none, as a panel holds them."""
    if covariate.transform == "log-ratio":
        return np.log(np.maximum(values, np.float32(LEAST_PRICE)))
    gap = gap_of(covariate)
    return values if np.isnan(gap) else np.where(np.isnan(values), np.float32(gap), values)


def build_panel(
    table: pl.LazyFrame, as_of: date, options: Options, steps: int | None = None, *, complete: bool = True
) -> Panel:
    """Dense arrays of the table's rows up to the end of `as_of`, and of its known-ahead columns `horizon` steps on.

    Other columns' values after `as_of` are dropped before anything else happens. `steps`: only so many, the last ones;
    a scoring needs no more than `context` + `horizon`. Raises DataError when the table has no rows up to `as_of`, rows
    that lie between the steps of the frequency, or, if it should be `complete`, not the covariates that the options say
    are there.
    """
    columns = table.collect_schema().names()
    ahead, behind = (options.covariates_known(known) for known in ("ahead", "past"))
    end = datetime.combine(as_of, datetime.min.time()) + timedelta(minutes=MINUTE_OF_DAY)
    reach = options.horizon * timedelta(minutes=MINUTES[options.frequency])
    known = _microseconds(end) >= MOMENT
    frame = (
        table.filter(_microseconds(end + reach) >= MOMENT)
        .select(
            "date",
            "series_id",
            *options.static,
            *[pl.col(name).cast(pl.Float32) for name in options.numbers],
            *[pl.when(known).then(pl.col(name)).cast(pl.Float32).alias(name) for name in ("units", *behind)],
            *[pl.col(name).cast(pl.Float32) for name in (*ahead, "holiday") if name in columns],
            *[
                (pl.col(name) if kind.known == "ahead" else pl.when(known).then(pl.col(name)))
                .cast(pl.String)
                .alias(name)
                for name, kind in options.categories.items()
            ],
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
    if complete:
        require_covariates(grid, frame, times, options)
    holiday = grid.scatter(frame["holiday"], np.nan) if "holiday" in columns else None
    return make_panel(
        times,
        grid.names,
        {name: _texts(frame[name].gather(grid.newest)) for name in options.static},
        grid.scatter(frame["units"], np.nan),
        options,
        columns=Columns(
            _scattered(grid, frame, ahead),
            _scattered(grid, frame, behind),
            _by_series(grid, frame, options.numbers),
            {name: _places(grid, frame[name]) for name in options.categories},
        ),
        holiday=None if holiday is None else _shared(_filled(holiday)),
    )


def require_covariates(grid: Grid, frame: pl.DataFrame, times: Times, options: Options) -> None:
    """Raises DataError on a covariate that has no value where the options say that it has one.

    A step ahead on which no series has a value was not delivered; a single series may have ended. Of the past, each row
    has a value.
    """
    first = grid.steps - options.horizon
    step = grid.cells % grid.steps
    delivered = np.bincount(step, minlength=grid.steps)[first:] > 0
    every = {**options.covariates_known("ahead"), **options.covariates_known("past"), **options.categories}
    for column, said in ((column, said) for column, said in every.items() if not said.missing and len(grid.names)):
        whole = not frame[column].null_count()
        way_out = f"deliver it, or set missing: true for {column} in the section problem"
        if said.known == "ahead":
            there = delivered
            if not whole:
                there = np.bincount(step[frame[column].is_not_null().to_numpy()], minlength=grid.steps)[first:] > 0
            if not there.all():
                moment = times[first + int(there.argmin())].astype("datetime64[m]")
                day = moment.astype("datetime64[D]") if options.whole_days else moment
                raise DataError(
                    f"table: {column} is known ahead, but no row has it on {day}, within {options.horizon} steps after "
                    f"as_of; {way_out}"
                )
        elif not whole and (lacking := frame[column].is_null().to_numpy() & (step < first)).any():
            row = frame.row(int(lacking.argmax()), named=True)
            raise DataError(f"table: {column} has no value in the row {row['series_id']}, {row['date']}; {way_out}")


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


def _scattered(grid: Grid, frame: pl.DataFrame, covariates: Mapping[str, Covariate]) -> Floats | None:
    return grid.scatter_all(
        [(as_told(frame[column].to_numpy(), one), gap_of(one)) for column, one in covariates.items()]
    )


def _by_series(grid: Grid, frame: pl.DataFrame, columns: Sequence[str]) -> Floats:
    """(N, columns) numbers of each series' newest row."""
    found = [frame[name].gather(grid.newest).to_numpy() for name in columns]
    return np.array(found, dtype=np.float32).reshape(len(columns), len(grid.names)).T.copy()


def _places(grid: Grid, texts: pl.Series) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """The values of a column, sorted, and (N, steps) the place of each among them, -1 where there is none."""
    values = texts.drop_nulls().unique().sort()
    places = texts.cast(pl.Enum(values)).to_physical().cast(pl.Float32)
    return values.to_numpy().astype(np.str_), grid.scatter(places, -1).astype(np.int32)


def _filled(holiday: Floats) -> Floats:
    """Gaps filled with whether any series has a holiday on that step."""
    return np.where(np.isfinite(holiday), holiday, np.nan_to_num(holiday).max(axis=0))


def _shared(values: Floats) -> Floats:
    """One line for all when all lines are equal."""
    return values[:1] if (values == values[:1]).all() else values
