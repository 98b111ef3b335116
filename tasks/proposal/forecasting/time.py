"""Which column of a table is its time, and how long its steps are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.proposal.blocks.columns import require_column
from tasks.tables.axis import Axis
from tasks.tables.moments import read_moments
from tasks.tables.steps import Frequency, Step
from tasks.tables.table import Column, TableContract

FREQUENCIES: tuple[str, ...] = get_args(Frequency)
NAMES = ("date", "ds", "day", "timestamp", "datetime", "time", "moment", "month", "week", "quarter", "year", "period")
WHOLE_NUMBERS = ("month", "year", "period")
READ = 0.99
"""The share of a column's values that must be dates for it to be the time."""
SAMPLE = 1000


@dataclass(frozen=True)
class Time:
    """The time of a table. `number` (rows,): each row's step, null where its value cannot be read."""

    column: str
    axis: Axis
    number: pl.Series
    unread: int

    @property
    def step(self) -> Step:
        """The length of a step."""
        return self.axis.step

    def as_of(self, number: int) -> date:
        """The last day on which the step `number`, or else the one before it, is the last known one."""
        value = self.axis.value(number)
        day = value.date() if isinstance(value, datetime) else value
        while self.axis.last(day) > number:
            day -= timedelta(days=1)
        while self.axis.last(day) < number and self.axis.last(day + timedelta(days=1)) <= number:
            day += timedelta(days=1)
        return day


def find_time(rows: pl.DataFrame, asked: str = "") -> Time:
    """The one column of dates or moments, or that called so, with the longest step whose grid holds all of its rows.

    Raises DataError when there is none, or its rows lie on no grid; UsageError when there are several.
    """
    if asked:
        require_column(rows, "--time", asked)
    readable = [name for name in ([asked] if asked else rows.columns) if _is_readable(rows[name].head(SAMPLE))]
    if not readable:
        raise DataError(_no_time(rows, asked))
    # A year in whole numbers beside a date is a part of it.
    readable = [name for name in readable if not rows.schema[name].is_integer()] or readable
    named = [name for name in NAMES for column in readable if column.lower() == name]
    if len(readable) > 1 and not named:
        raise UsageError(f"{' and '.join(readable)} are all dates; say which one orders the rows: --time {readable[0]}")
    column = next((each for each in readable if each.lower() == named[0]), readable[0]) if named else readable[0]
    for step, moments in _readings(rows[column]):
        known = moments.drop_nulls()
        axis = Axis.of(step, known)
        if not axis.between(known).any():
            places = moments.to_frame().with_row_index("row").drop_nulls(column)["row"]
            numbers = pl.DataFrame({"row": places, "number": axis.count(known)})
            every = pl.DataFrame({"row": pl.arange(0, rows.height, eager=True, dtype=pl.UInt32)})
            number = every.join(numbers, on="row", how="left", maintain_order="left")["number"]
            return Time(column, axis, number, number.null_count())
    raise DataError(
        f"{column}: its rows lie on no grid of steps from a year to 5 minutes, counted from the first one; round the "
        "moments, or sum the rows by a step"
    )


def has_time(rows: pl.DataFrame) -> bool:
    """Whether some column orders the rows."""
    return any(_is_readable(rows[name].head(SAMPLE)) for name in rows.columns)


def has_moments(rows: pl.DataFrame) -> bool:
    """Whether some column holds days or moments, not years or months in whole numbers."""
    return any(_is_readable(rows[name].head(SAMPLE)) for name, kind in rows.schema.items() if not kind.is_integer())


def zone_of(moments: pl.Series) -> str:
    """The zone of moments that have a named one, else UTC."""
    zone = moments.dtype.time_zone if isinstance(moments.dtype, pl.Datetime) else None
    try:
        return str(ZoneInfo(zone)) if zone else "UTC"
    except (LookupError, ValueError, OSError):
        return "UTC"  # an offset alone


def _readings(values: pl.Series) -> Iterator[tuple[Step, pl.Series]]:
    """The column as dates or moments of each step that it can be read by, the longest step first."""
    for name in FREQUENCIES:
        step = Step(name)
        found = _read(values, step)
        if found.dtype.is_temporal() and found.count() and found.count() >= READ * len(values):
            yield step, found


def _read(values: pl.Series, step: Step) -> pl.Series:
    column = Column("date", "date" if step.whole_days else "moment")
    return read_moments(
        values, column, TableContract((column,), "date", None, (), step=step.name, zone=zone_of(values))
    )


def _is_readable(values: pl.Series) -> bool:
    if values.dtype.is_integer():
        low, high = (values.min(), values.max()) if values.name.lower() in WHOLE_NUMBERS else (None, None)
        plausible = ((1900, 2100), (190001, 210012))
        return any(isinstance(low, int) and isinstance(high, int) and a <= low <= high <= b for a, b in plausible)
    if values.dtype != pl.String and not isinstance(values.dtype, pl.Date | pl.Datetime):
        return False
    return any(True for _ in _readings(values))


def _no_time(rows: pl.DataFrame, asked: str) -> str:
    said = f"{asked} is" if asked else "no column is"
    for name in [asked] if asked else rows.columns:
        texts = rows[name].drop_nulls().head(1)
        if texts.dtype == pl.String and texts.str.contains(r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}").any():
            return f"{said} a date as YYYY-MM-DD; {name} has {texts[0]!r:.40}: write it in that form"
    return (
        f"{said} a date or a moment (Date, Datetime, ISO text such as 2026-11-30, or 2026-11); columns: "
        + ", ".join(rows.columns)
    )
