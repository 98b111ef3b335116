"""Steps of time last from 5 minutes to a year.

A step is known as of a day when it has ended on that day's evening; of a week, whose date may be any of its days, when
its date has come. What a table's dates have to do with them is in `axis`.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Frequency = Literal["1y", "1q", "1mo", "1w", "1b", "1d", "1h", "30m", "15m", "10m", "5m"]
"""The names mean year, quarter, month, week, business day, day, hour, minutes."""
MINUTES = {"1w": 10080, "1d": 1440, "1h": 60, "30m": 30, "15m": 15, "10m": 10, "5m": 5}
"""These steps are all equally long, in minutes."""
MONTHS = {"1mo": 1, "1q": 3, "1y": 12}
NOUNS = {"1y": "year", "1q": "quarter", "1mo": "month", "1w": "week", "1b": "business day", "1d": "day", "1h": "hour"}
LENGTHS = {"1b": 1.4, "1mo": 30.4375, "1q": 91.3125, "1y": 365.25}
"""Other steps have this mean length in days."""
DAY = 1440
MICROSECONDS = 60_000_000  # of a minute
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 a table's own time

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
            length, month = MONTHS[self.name], months(np.array([day_number(as_of) + 1]))[0]
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
            return (evening(as_of, zone) + steps * MINUTES[self.name]) * MICROSECONDS
        wide = steps + (1 if steps > 0 else -1) * (self.name in MONTHS)  # a business year begins in any month
        return evening(self.day_ahead(as_of, wide), None) * MICROSECONDS


def evening(day: date, zone: str | None) -> int:
    """Return the last minute of a day, in UTC where there is a zone: clocks are changed at midnight in some."""
    begin = datetime.combine(day, datetime.min.time()) + timedelta(days=1)
    if zone is not None:
        begin = begin.replace(tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
    return int((begin - EPOCH) / timedelta(minutes=1)) - 1


def day_number(day: date) -> int:
    """Return the days since 1970."""
    return (day - EPOCH.date()).days


def months(days: Numbers) -> Numbers:
    """Return (days,) months since January 1970 of days since 1970."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
