"""The calendar of every step is known in advance: its place in the day, week, month and year, and public holidays."""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.core.errors import ConfigError
from tasks.problems.base import Floats
from tasks.tables.axis import business_day_number, month_number
from tasks.tables.steps import MINUTES, MONTHS, Times

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTH = ("month_sine", "month_cosine")
YEAR = ("year_sine", "year_cosine", "half_year_sine", "half_year_cosine")
DAY = ("day_sine", "day_cosine", "half_day_sine", "half_day_cosine")
MONDAY = np.datetime64("1970-01-05", "m")
LONG = ("1w", *MONTHS)
"""A step of these lengths has its place in the year."""


def calendar_names(frequency: str) -> tuple[str, ...]:
    """Return the names of `calendar_features` in order."""
    if frequency in LONG:
        return (*YEAR, *MONTH) if frequency == "1w" else YEAR
    if frequency == "1b":
        return (*WEEKDAYS[:5], *MONTH)
    return (*WEEKDAYS, *MONTH) if frequency == "1d" else (*DAY, *WEEKDAYS)


def calendar_features(times: Times, frequency: str = "1d") -> Floats:
    """Return (steps, F). From weeks on: position in the year; of weeks in the month too, since people buy after payday.

    Days: one-hot weekday from Monday, position in the month.
    Shorter steps: position in the day, one-hot weekday. Positions are sines and cosines.
    """
    if frequency in LONG:
        year = _waves(_share_of(times, "Y"), 2)
        return np.concatenate([year, _waves(_share_of(times, "M"), 1)], axis=1) if frequency == "1w" else year
    weekday: Floats = np.eye(7, dtype=np.float32)[_weekday(times)]
    if frequency == "1b":
        weekday = weekday[:, :5]
    if frequency in ("1d", "1b"):
        return np.concatenate([weekday, _waves(_share_of(times, "M"), 1)], axis=1)
    return np.concatenate([_waves(_of_day(times), 2), weekday], axis=1)


def phases(times: Times, frequency: str, season: int) -> NDArray[np.int64]:
    """Return (steps,) place of each step in the season, from 0.

    A week begins on Monday, a year of weeks or months in January.

    Weeks count from the year's first day, so that a week's place is that of its date; the 53rd counts as the last.
    """
    if frequency == "1w" and season > 1:
        return np.minimum((_share_of(times, "Y") * 365.25 / 7).astype(np.int64) * season // 52, season - 1)
    if frequency in MONTHS:
        return month_number(times) // MONTHS[frequency] % season
    if frequency == "1b":
        return business_day_number(times) % season
    steps = (times.astype("datetime64[m]") - MONDAY).astype(np.int64) // MINUTES[frequency]
    return steps % season


def public_holidays(times: Times, country: str | None, frequency: str = "1d") -> NDArray[np.bool_]:
    """Return (steps,) whether each step begins on a public holiday there; all False without a country, and of months.

    Raises ConfigError on a country that the `holidays` library does not know.
    """
    if country is None or frequency in MONTHS:
        return np.zeros(len(times), dtype=bool)
    days = times.astype("datetime64[D]")
    first, last = days.min().astype("datetime64[Y]"), days.max().astype("datetime64[Y]")
    return np.isin(days, _holidays(country, int(first.astype(np.int64)) + 1970, int(last.astype(np.int64)) + 1970))


@lru_cache(maxsize=64)  # making them takes longer than the rest of one series' features
def _holidays(country: str, first_year: int, last_year: int) -> NDArray[np.datetime64]:
    import holidays

    try:
        known: Iterable[date] = holidays.country_holidays(country, years=range(first_year, last_year + 1))
    except NotImplementedError as error:
        raise ConfigError(f"problem.country: no holidays known for {country!r}; use an ISO code such as US") from error
    return np.array(sorted(known), dtype="datetime64[D]")


def steps_to_next(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Count the steps until the next flagged one, (…, steps) -> (…, steps): 0 on one, a large number without any."""
    length = flags.shape[-1]
    position = np.where(flags, np.arange(length), 10 * length)
    upcoming = np.minimum.accumulate(position[..., ::-1], axis=-1)[..., ::-1]
    return (upcoming - np.arange(length)).astype(np.int32)


def _weekday(times: Times) -> NDArray[np.int64]:
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7


def _of_day(times: Times) -> NDArray[np.float64]:
    """Return the share of the day that has passed."""
    minutes = times.astype("datetime64[m]")
    passed: NDArray[np.float64] = (minutes - minutes.astype("datetime64[D]")).astype(np.int64) / 1440
    return passed


def _share_of(times: Times, unit: str) -> NDArray[np.float64]:
    """Return the share of the month or year that has passed, by whole days."""
    days, start = times.astype("datetime64[D]"), times.astype(f"datetime64[{unit}]")
    length = ((start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")).astype(np.int64)
    passed: NDArray[np.float64] = (days - start.astype("datetime64[D]")).astype(np.int64) / length
    return passed


def _waves(share: NDArray[np.float64], harmonics: int) -> Floats:
    """Return (steps, 2 harmonics) from (steps,) shares of a cycle: sine and cosine of each harmonic."""
    angles = 2 * np.pi * share[:, None] * np.arange(1, harmonics + 1)
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(share), -1).astype(np.float32)
