"""An axis counts the dates or moments of a table in steps; no other module does.

Moments with a zone are counted in UTC, so that no hour of a clock change is lost or there twice; dates, and moments
without a zone, are counted as they are.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.tables.steps import (
    DAY,
    EPOCH,
    MICROSECONDS,
    MINUTES,
    MONTHS,
    Numbers,
    Step,
    Times,
    day_number,
    evening,
    months,
)

MONDAY = 4  # days since 1970-01-01
LONGEST_MONTH = 31


@dataclass(frozen=True)
class Axis:
    """An Axis numbers the steps of a table from its first one on.

    `first`: minutes since 1970. `zone`: of the moments; None: they, or dates, are as they are. `day`: of the month, of
    months, quarters and years; 31: they are dated by their last day.
    """

    step: Step
    first: int
    zone: str | None = None
    day: int = 1

    @classmethod
    def of(cls, step: Step, dates: pl.Series) -> "Axis":
        """Return the axis that begins with the earliest of some dates or moments, none of which is null."""
        minutes = int(_microseconds(dates.min()) // MICROSECONDS)
        zone = dates.dtype.time_zone if isinstance(dates.dtype, pl.Datetime) else None
        if step.name not in MONTHS:
            return cls(step, minutes, zone)
        days = _days(dates)
        ends = (_days_of(months(days) + 1) == days + 1).all()
        return cls(step, minutes, zone, LONGEST_MONTH if ends else int(_day_of_month(np.array([minutes // DAY]))[0]))

    def count(self, dates: pl.Series) -> Numbers:
        """Return (rows,) the number of each row's step. Raises DataError naming the first row that lies between two."""
        numbers, between = self._place(dates)
        if between.any():
            odd = dates[int(between.argmax())]
            name = f"{self.step.name}, counted from {self.value(0)}"
            raise DataError(f"table: {odd} is no step of problem.frequency {name}{self.why(odd)}")
        return numbers

    def between(self, dates: pl.Series) -> pl.Series:
        """Return (rows,) whether each row lies between two steps."""
        return pl.Series(self._place(dates)[1])

    def why(self, odd: object) -> str:
        """Say why a row that lies between two steps is wrong."""
        if isinstance(odd, date) and self.step.name == "1w":
            return f": it is a {odd:%A}, and the first week begins on a {self.value(0):%A}"
        if isinstance(odd, date) and self.step.name == "1b":
            return f": it is a {odd:%A}, and business days are Monday to Friday"
        if self.step.name in MONTHS:
            days = "the last day of a month" if self.day == LONGEST_MONTH else f"day {self.day} of a month"
            return f": every {self.step.noun} is dated by {days}, as the first one is"
        return ""

    def at(self, numbers: Numbers) -> Times:
        """Return (steps,) minutes at which steps begin, in UTC where there is a zone; of months, their date."""
        return self._minutes(np.asarray(numbers, dtype=np.int64)).astype("datetime64[m]")

    def value(self, number: int) -> date | datetime:
        """Return a step as the table's column has it."""
        begin = EPOCH + timedelta(minutes=int(self._minutes(np.array([number]))[0]))
        if self.zone is not None:
            return begin.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(self.zone))
        return begin.date() if self.step.whole_days else begin

    def last(self, as_of: date) -> int:
        """Return the number of the last step known on the evening of a day; negative if the first is not."""
        if self.step.name in MINUTES:
            return (evening(as_of, self.zone) - self.first) // MINUTES[self.step.name]
        if self.step.name == "1b":
            return int(_business_days(np.array([day_number(as_of)]))[0][0] - self._origin)
        begins = self.day < LONGEST_MONTH  # then a step has ended when the next one begins
        day = np.array([day_number(as_of) + begins])
        early = _day_of_month(day) < np.minimum(self.day, _length(months(day)))
        return int((months(day) - self._origin - early)[0]) // MONTHS[self.step.name] - begins

    @property
    def _origin(self) -> int:
        """Return the first step's number among all business days or months."""
        day = np.array([self.first // DAY])
        return int((_business_days(day)[0] if self.step.name == "1b" else months(day))[0])

    def _minutes(self, numbers: Numbers) -> Numbers:
        if self.step.name in MINUTES:
            return self.first + numbers * MINUTES[self.step.name]
        if self.step.name == "1b":
            week, day = np.divmod(self._origin + numbers, 5)
            return (7 * week + day + MONDAY) * DAY
        month = self._origin + numbers * MONTHS[self.step.name]
        return (_days_of(month) + np.minimum(self.day, _length(month)) - 1) * DAY

    def _place(self, dates: pl.Series) -> tuple[Numbers, NDArray[np.bool_]]:
        """Return the number of each row's step, and whether the row lies between that one and the next."""
        name = self.step.name
        if dates.dtype == pl.Date and self.step.whole_days:  # days are quicker to count than microseconds
            days, rest = _days(dates), np.zeros(1, dtype=bool)
            if name in MINUTES:
                passed, length = days - self.first // DAY, MINUTES[name] // DAY
                number = passed // length if length > 1 else passed
                return number.astype(np.int64), number * length != passed
        else:
            moments = _moments(dates)
            if name in MINUTES:
                passed, length = moments - self.first * MICROSECONDS, MINUTES[name] * MICROSECONDS
                number = passed // length
                return number, number * length != passed
            days = moments // (DAY * MICROSECONDS)
            rest = days * DAY * MICROSECONDS != moments
        if name == "1b":
            number, closed = _business_days(days)
            return number - self._origin, closed | rest
        month = months(days)
        number, over = np.divmod(month - self._origin, MONTHS[name])
        return number, (over != 0) | (_day_of_month(days) != np.minimum(self.day, _length(month))) | rest


def local(times: Times, zone: str | None) -> Times:
    """Return (steps,) minutes in UTC as the clocks of a zone show them."""
    if zone is None:
        return times
    shown = pl.Series(times.astype("datetime64[us]")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return shown.dt.replace_time_zone(None).to_numpy().astype("datetime64[m]")


def month_number(times: Times) -> Numbers:
    """Return (steps,) months since January 1970."""
    return times.astype("datetime64[M]").astype(np.int64)


def business_day_number(times: Times) -> Numbers:
    """Return (steps,) business days since Monday, 5 January 1970."""
    return _business_days(times.astype("datetime64[D]").astype(np.int64))[0]


def _microseconds(moment: object) -> int:
    if isinstance(moment, datetime):
        plain = moment.astimezone(ZoneInfo("UTC")).replace(tzinfo=None) if moment.tzinfo else moment
        return (plain - EPOCH) // timedelta(microseconds=1)
    assert isinstance(moment, date)
    return day_number(moment) * DAY * MICROSECONDS


def _moments(dates: pl.Series) -> Numbers:
    moments = dates.cast(pl.Datetime("us")) if dates.dtype == pl.Date else dates.dt.cast_time_unit("us")
    return moments.to_physical().to_numpy()


def _days(dates: pl.Series) -> Numbers:
    return (dates if dates.dtype == pl.Date else dates.dt.date()).to_physical().to_numpy().astype(np.int64)


def _business_days(days: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Return the number of each day's business day, on a weekend the one before, and whether it is one."""
    week, day = np.divmod(days - MONDAY, 7)
    return 5 * week + np.minimum(day, 4), day > 4


def _days_of(month: Numbers) -> Numbers:
    """Return the days since 1970 of the first day of months."""
    return month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _length(month: Numbers) -> Numbers:
    return _days_of(month + 1) - _days_of(month)


def _day_of_month(days: Numbers) -> Numbers:
    return days - _days_of(months(days)) + 1
