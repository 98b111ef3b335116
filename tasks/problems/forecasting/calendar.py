"""What is known of every day in advance: position in the week and month, and public holidays."""

from collections.abc import Iterable
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ConfigError
from tasks.problems.base import Floats

Days = NDArray[np.datetime64]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
CALENDAR_FEATURES = (*WEEKDAYS, "month_sine", "month_cosine")


def calendar_features(days: Days) -> Floats:
    """(days, 9): one-hot weekday from Monday, and sine and cosine of the position in the month."""
    weekday = (days.astype("datetime64[D]").astype(np.int64) + 3) % 7
    start = days.astype("datetime64[M]")
    length = ((start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")).astype(np.int64)
    angle = 2 * np.pi * (days - start.astype("datetime64[D]")).astype(np.int64) / length
    return np.column_stack([np.eye(7)[weekday], np.sin(angle), np.cos(angle)]).astype(np.float32)


def public_holidays(days: Days, country: str | None) -> NDArray[np.bool_]:
    """(days,): whether each day is a public holiday there; all False without a country.

    Raises ConfigError on a country that the `holidays` library does not know.
    """
    if country is None:
        return np.zeros(len(days), dtype=bool)
    import holidays

    years = np.unique(days.astype("datetime64[Y]").astype(np.int64) + 1970).tolist()
    try:
        known: Iterable[date] = holidays.country_holidays(country, years=years)
    except NotImplementedError as error:
        raise ConfigError(f"problem.country: no holidays known for {country!r}; use an ISO code such as US") from error
    return np.isin(days, np.array(sorted(known), dtype="datetime64[D]"))


def days_to_next(flags: NDArray[np.bool_]) -> NDArray[np.int32]:
    """(…, days) -> (…, days): days until the next flagged day, 0 on one, a large number when there is none."""
    length = flags.shape[-1]
    position = np.where(flags, np.arange(length), 10 * length)
    upcoming = np.minimum.accumulate(position[..., ::-1], axis=-1)[..., ::-1]
    return (upcoming - np.arange(length)).astype(np.int32)
