"""Steps of time last from 5 minutes to a year; only this module counts the dates or moments of a table in steps.

Moments with a zone are counted in UTC, so that no hour of a clock change is lost or there twice; dates, and moments
without a zone, are counted as they are. A step is known as of a day when it has ended on that day's evening; of a week,
whose date may be any of its days, when its date has come.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError

Frequency = Literal["1y", "1q", "1mo", "1w", "1b", "1d", "1h", "30m", "15m", "10m", "5m"]
"""The names mean year, quarter, month, week, business day, day, hour, minutes."""
MINUTES = {"1w": 10080, "1d": 1440, "1h": 60, "30m": 30, "15m": 15, "10m": 10, "5m": 5}
"""These steps are all equally long, in minutes."""
MONTHS = {"1mo": 1, "1q": 3, "1y": 12}
NOUNS = {"1y": "year", "1q": "quarter", "1mo": "month", "1w": "week", "1b": "business day", "1d": "day", "1h": "hour"}
LENGTHS = {"1b": 1.4, "1mo": 30.4375, "1q": 91.3125, "1y": 365.25}
"""Other steps have this mean length in days."""
DAY = 1440
MONDAY = 4  # days since 1970-01-01
MICROSECONDS = 60_000_000  # of a minute
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a table's own time
LONGEST_MONTH = 31

Numbers = NDArray[np.int64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Step:
    """A Step is known by its name, one of `Frequency`, which says its length."""

    name: str

    @property
    def whole_days(self) -> bool:
        """Return whether a date says which step it is."""
        return MINUTES.get(self.name, DAY) >= DAY

    @property
    def noun(self) -> str:
        """Return the word for a step: `day`, `month`; `step` if it has no name."""
        return NOUNS.get(self.name, "step")

    def within(self, days: float) -> int:
        """Return the whole steps that so many days have room for."""
        return int(days / LENGTHS[self.name]) if self.name in LENGTHS else int(days * DAY // MINUTES[self.name])

    def day_ahead(self, as_of: date, steps: int) -> date:
        """Return the last day of the step that is `steps` after the last one known on `as_of`; before it, if negative.

        Quarters and years are those of the calendar here.
        """
        if self.name == "1b":
            moved: date = np.busday_offset(np.datetime64(as_of), steps, roll="backward").astype(date)
            return moved
        if self.name in MONTHS:
            length, month = MONTHS[self.name], _months(np.array([_day_number(as_of) + 1]))[0]
            after = np.datetime64(int(month) // length * length + steps * length, "M")
            last: date = (after.astype("datetime64[D]") - 1).astype(date)
            return last
        return as_of + timedelta(days=-(-steps * MINUTES[self.name] // DAY))

    def reach(self, as_of: date, steps: int, zone: str | None) -> int:
        """Return when the step ends that lies `steps` after the last known on `as_of`: microseconds since 1970.

        Nothing that is known then, or belongs to so many further steps, lies later. Of a negative number nothing that
        belongs to the steps after it lies earlier.
        """
        if self.name in MINUTES:
            return (_evening(as_of, zone) + steps * MINUTES[self.name]) * MICROSECONDS
        wide = steps + (1 if steps > 0 else -1) * (self.name in MONTHS)  # a business year begins in any month
        return _evening(self.day_ahead(as_of, wide), None) * MICROSECONDS


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
        ends = (_days_of(_months(days) + 1) == days + 1).all()
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
            return (_evening(as_of, self.zone) - self.first) // MINUTES[self.step.name]
        if self.step.name == "1b":
            return int(_business_days(np.array([_day_number(as_of)]))[0][0] - self._origin)
        begins = self.day < LONGEST_MONTH  # then a step has ended when the next one begins
        day = np.array([_day_number(as_of) + begins])
        early = _day_of_month(day) < np.minimum(self.day, _length(_months(day)))
        return int((_months(day) - self._origin - early)[0]) // MONTHS[self.step.name] - begins

    @property
    def _origin(self) -> int:
        """Return the first step's number among all business days or months."""
        day = np.array([self.first // DAY])
        return int((_business_days(day)[0] if self.step.name == "1b" else _months(day))[0])

    def _minutes(self, numbers: Numbers) -> Numbers:
        if self.step.name in MINUTES:
            return self.first + numbers * MINUTES[self.step.name]
        if self.step.name == "1b":
            week, day = np.divmod(self._origin + numbers, 5)
            return (7 * week + day + MONDAY) * DAY
        months = self._origin + numbers * MONTHS[self.step.name]
        return (_days_of(months) + np.minimum(self.day, _length(months)) - 1) * DAY

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
        months = _months(days)
        number, over = np.divmod(months - self._origin, MONTHS[name])
        return number, (over != 0) | (_day_of_month(days) != np.minimum(self.day, _length(months))) | rest


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


def _evening(day: date, zone: str | None) -> int:
    """Return the last minute of a day, in UTC where there is a zone: clocks are changed at midnight in some."""
    begin = datetime.combine(day, datetime.min.time()) + timedelta(days=1)
    if zone is not None:
        begin = begin.replace(tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
    return int((begin - EPOCH) / timedelta(minutes=1)) - 1


def _microseconds(moment: object) -> int:
    if isinstance(moment, datetime):
        plain = moment.astimezone(ZoneInfo("UTC")).replace(tzinfo=None) if moment.tzinfo else moment
        return (plain - EPOCH) // timedelta(microseconds=1)
    assert isinstance(moment, date)
    return _day_number(moment) * DAY * MICROSECONDS


def _day_number(day: date) -> int:
    return (day - EPOCH.date()).days


def _moments(dates: pl.Series) -> Numbers:
    moments = dates.cast(pl.Datetime("us")) if dates.dtype == pl.Date else dates.dt.cast_time_unit("us")
    return moments.to_physical().to_numpy()


def _days(dates: pl.Series) -> Numbers:
    return (dates if dates.dtype == pl.Date else dates.dt.date()).to_physical().to_numpy().astype(np.int64)


def _business_days(days: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Return the number of each day's business day, on a weekend the one before, and whether it is one."""
    week, day = np.divmod(days - MONDAY, 7)
    return 5 * week + np.minimum(day, 4), day > 4


def _months(days: Numbers) -> Numbers:
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _days_of(months: Numbers) -> Numbers:
    """Return the days since 1970 of the first day of months."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _length(months: Numbers) -> Numbers:
    return _days_of(months + 1) - _days_of(months)


def _day_of_month(days: Numbers) -> Numbers:
    return days - _days_of(_months(days)) + 1
