"""A panel holds a long table of rows as dense arrays, one line a series: windows are gathered from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.base import Floats
from tasks.problems.forecasting.calendar import calendar_features, phases, public_holidays, steps_to_next
from tasks.problems.forecasting.covariates import KNOWN, Covariate
from tasks.problems.forecasting.grid import Grid, place_rows
from tasks.problems.forecasting.options import Options
from tasks.tables.axis import Axis, local
from tasks.tables.steps import EPOCH, Times

SERIES = "series"
"""The raw table has this name."""
ALL = "all"
"""A table's only series has this name."""
LEAST_PRICE = 1e-6
"""Values of which a ratio is made are at least this."""
MOMENT = pl.col("date").cast(pl.Datetime("us")).to_physical()  # numbers: a literal datetime costs .2 ms each


@dataclass(frozen=True)
class Columns:
    """Columns holds the columns beside the target, in the options' order.

    `ahead`, `behind` (N or 1, T, columns): `as_told`. `numbers` (N, columns). `kinds`: column -> its values, and
    (N or 1, T) places among them, -1 for none.
    """

    ahead: Floats | None = None
    behind: Floats | None = None
    numbers: Floats | None = None
    kinds: Mapping[str, tuple[NDArray[np.str_], NDArray[np.int32]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """A Panel holds N series over T steps: first `context` empty steps, at the end `horizon` steps after `as_of`.

    `units` (N, T): 0 where there is no value and after `as_of`. `observed` (N, T): 1 where units are known.
    `ahead` (N or 1, T, A), `behind` (N or 1, T, B): covariates known ahead, and up to `as_of` alone; logarithms where
    they become ratios; NaN where there is no value, but 0 of plain numbers that cannot be missing. `numbers` (N, M).
    `kinds` (N or 1, T, C): place of each category among its column's `values`, -1 for none; those known ahead first.
    `holiday` (N or 1, T): 0 or 1; `holiday_in` (N or 1, T): steps until the next one. One line stands for all series
    that share it. `calendar` (T, F). `phase` (T,): place in the season. `times` (T,): minutes since 1970, in UTC if
    there is a `zone`, in whose time calendar and phase are. `names` (N,): series; `static`: column -> (N,) values.
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
    zone: str | None = None

    def time(self, position: int) -> datetime:
        """Return the begin of a step of the time axis, in the panel's zone."""
        begin = EPOCH + timedelta(minutes=int(self.times[position]))
        return begin if self.zone is None else begin.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the numeric arrays by field name."""
        names = (each.name for each in fields(self) if each.name not in ("names", "static", "values", "zone"))
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
    """Make a panel of arrays on a common time axis; `units` (N, T) is NaN where there is no value.

    `columns`: all those that the options name beside `static`. Without `holiday` (N or 1, T) it is computed for
    `options.country`.
    """
    columns = columns or Columns()
    if holiday is None:
        holiday = public_holidays(times, options.country, options.frequency)[None].astype(np.float32)
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
    """Return the number that fills a covariate's missing values: see `Panel.ahead`."""
    return 0.0 if covariate.transform == "none" and not covariate.missing else np.nan


def as_told(values: Floats, covariate: Covariate) -> Floats:
    """Return a covariate's values, given as NaN where there is none, as a panel holds them."""
    if covariate.transform == "log-ratio":
        return np.log(np.maximum(values, np.float32(LEAST_PRICE)))
    gap = gap_of(covariate)
    return values if np.isnan(gap) else np.where(np.isnan(values), np.float32(gap), values)


def build_panel(
    table: pl.LazyFrame, as_of: date, options: Options, steps: int | None = None, *, complete: bool = True
) -> Panel:
    """Make arrays of the rows up to the last step known on `as_of`, and of the known-ahead columns after it.

    Other columns' values of later steps are dropped before anything else happens. `steps`: only so many, the last ones;
    a scoring needs no more than `context` + `horizon`. Raises DataError when the table has no rows up to `as_of`, rows
    that lie between the steps of the frequency, or, if it should be `complete`, not the covariates that the options say
    are there.
    """
    schema = table.collect_schema()
    ahead, behind = (options.covariates_known(known) for known in ("ahead", "past"))
    frame = (
        table.filter(options.step.reach(as_of, options.horizon, _zone(schema)) >= MOMENT)
        .select(
            "date",
            name_of_series(options.series).alias("series_id"),
            *options.static,
            *[pl.col(name).cast(pl.Float32) for name in (*options.numbers, "units", *behind)],
            *[pl.col(name).cast(pl.Float32) for name in (*ahead, "holiday") if name in schema],
            *[pl.col(name).cast(pl.String) for name in options.categories],
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
    if alone := (*behind, *options.categories_known("past")):
        frame = frame.with_columns(pl.when(pl.Series(number <= last)).then(pl.col(name)).alias(name) for name in alone)
    steps = len(times) if steps is None else steps
    times, place = times[-steps:], options.context + steps - len(times)
    grid, frame = place_rows(frame, place + number, steps, options.horizon)
    if complete:
        require_covariates(grid, frame, times, options)
    holiday = grid.scatter(frame["holiday"], np.nan) if "holiday" in schema else None
    panel = make_panel(
        local(times, axis.zone),
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
    return replace(panel, times=times.astype(np.int64), zone=axis.zone)


def name_of_series(columns: Sequence[str]) -> pl.Expr:
    """What a series is called: the value of its one column, or those of several, divided by `/`; ALL without any.

    A `/` within one of several values has a backslash before it, so that no two series have one name.
    """
    if len(columns) == 1:
        return pl.col(columns[0])
    plain = [pl.col(name).cast(pl.String).str.replace_all(r"([\\/])", r"\$1") for name in columns]
    return pl.concat_str(plain, separator="/") if plain else pl.lit(ALL)


def require_covariates(grid: Grid, frame: pl.DataFrame, times: Times, options: Options) -> None:
    """Raise DataError on a covariate that has no value where the options say that it has one.

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
                day = moment.astype("datetime64[D]") if options.step.whole_days else moment
                raise DataError(
                    f"table: {column} is known ahead, but no row has it on {day}, within {options.horizon} steps after "
                    f"as_of; {way_out}"
                )
        elif not whole and (lacking := frame[column].is_null().to_numpy() & (step < first)).any():
            row = frame.row(int(lacking.argmax()), named=True)
            raise DataError(f"table: {column} has no value in the row {row['series_id']}, {row['date']}; {way_out}")


def recent(table: pl.LazyFrame, as_of: date, options: Options) -> pl.LazyFrame:
    """Return the rows that a forecast made on `as_of` can depend on."""
    return table.filter(options.step.reach(as_of, -options.context, _zone(table.collect_schema())) < MOMENT)


def _zone(schema: pl.Schema) -> str | None:
    """Return the zone of the table's moments."""
    dtype = schema["date"]
    return dtype.time_zone if isinstance(dtype, pl.Datetime) else None


def _texts(values: pl.Series) -> NDArray[np.str_]:
    """Return values as text, "" where there is none."""
    texts = values.cast(pl.String)
    return (texts.fill_null("") if texts.null_count() else texts).to_numpy().astype(np.str_)


def _scattered(grid: Grid, frame: pl.DataFrame, covariates: Mapping[str, Covariate]) -> Floats | None:
    return grid.scatter_all(
        [(as_told(frame[column].to_numpy(), one), gap_of(one)) for column, one in covariates.items()]
    )


def _by_series(grid: Grid, frame: pl.DataFrame, columns: Sequence[str]) -> Floats:
    """Return (N, columns) numbers of each series' newest row."""
    found = [frame[name].gather(grid.newest).to_numpy() for name in columns]
    return np.array(found, dtype=np.float32).reshape(len(columns), len(grid.names)).T.copy()


def _places(grid: Grid, texts: pl.Series) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """Return a column's values, sorted, and (N, steps) the place of each among them, -1 where there is none."""
    values = texts.drop_nulls().unique().sort()
    places = texts.cast(pl.Enum(values)).to_physical().cast(pl.Float32)
    return values.to_numpy().astype(np.str_), grid.scatter(places, -1).astype(np.int32)


def _filled(holiday: Floats) -> Floats:
    """Fill gaps by whether any series has a holiday on that step."""
    return np.where(np.isfinite(holiday), holiday, np.nan_to_num(holiday).max(axis=0))


def _shared(values: Floats) -> Floats:
    """Return one line for all when all lines are equal."""
    return values[:1] if (values == values[:1]).all() else values
