"""The replay's calendar: one new day a night, weekdays kept, the same on every call."""

from datetime import date, timedelta
from itertools import pairwise

import pytest

from tasks.tables.sources.replay import original_day, shift_weeks


@pytest.mark.parametrize(
    ("as_of", "weeks", "day"),
    [
        (date(2017, 6, 5), 0, date(2017, 6, 5)),
        (date(2017, 12, 3), 0, date(2017, 12, 3)),
        (date(2017, 12, 4), 26, date(2017, 6, 5)),
        (date(2026, 11, 20), 468, date(2017, 12, 1)),
        (date(2016, 2, 29), -78, date(2017, 8, 28)),
    ],
)
def test_a_night_maps_to_a_day_of_the_set(as_of: date, weeks: int, day: date) -> None:
    assert shift_weeks(as_of) == weeks
    assert original_day(as_of) == day
    assert day.weekday() == as_of.weekday()


def test_each_night_of_a_cycle_brings_one_new_day() -> None:
    nights = [date(2026, 6, 1) + timedelta(days=n) for n in range(400)]
    steps = [(original_day(b) - original_day(a)).days for a, b in pairwise(nights)]
    assert set(steps) == {1, -181}
    assert steps.count(-181) == 2
    assert {original_day(night) for night in nights} == {date(2017, 6, 5) + timedelta(days=n) for n in range(182)}
