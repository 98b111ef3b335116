"""Steps of time by hand: business days, ends of months, fiscal quarters, leap days, week 53, and both clock changes."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import DataError
from tasks.tables.axis import Axis, local
from tasks.tables.steps import Step

BERLIN = ZoneInfo("Europe/Berlin")


def days(*texts: str) -> pl.Series:
    return pl.Series("date", [date.fromisoformat(text) for text in texts])


def axis_of(step: str, dates: pl.Series) -> Axis:
    return Axis.of(Step(step), dates)


def values(axis: Axis, numbers: Sequence[int]) -> list[str]:
    return [str(axis.value(number)) for number in numbers]


@pytest.mark.parametrize(
    ("step", "dates", "numbers"),
    [
        ("1d", ("2024-02-28", "2024-02-29", "2024-03-01"), [0, 1, 2]),
        ("1w", ("2020-12-28", "2021-01-04", "2021-01-18"), [0, 1, 3]),  # week 53 of 2020, then 1 and 3 of 2021
        ("1w", ("2024-01-07", "2024-01-14"), [0, 1]),  # a week that begins on Sunday
        ("1b", ("2024-01-05", "2024-01-08", "2024-01-12", "2024-01-15"), [0, 1, 5, 6]),
        ("1mo", ("2023-11-01", "2024-01-01", "2024-02-01"), [0, 2, 3]),
        ("1mo", ("2024-01-31", "2024-02-29", "2024-04-30"), [0, 1, 3]),
        ("1mo", ("2023-02-28", "2023-04-30"), [0, 2]),
        ("1mo", ("2023-02-28", "2023-03-28"), [0, 1]),  # not the last of March: the 28th of each
        ("1mo", ("2024-01-30", "2024-02-29", "2024-03-30"), [0, 1, 2]),
        ("1q", ("2023-10-01", "2024-04-01"), [0, 2]),
        ("1q", ("2024-02-01", "2024-05-01"), [0, 1]),  # of a business year that begins in February
        ("1q", ("2023-12-31", "2024-03-31", "2024-06-30"), [0, 1, 2]),
        ("1y", ("2023-01-01", "2026-01-01"), [0, 3]),
        ("1y", ("2024-02-29", "2025-02-28"), [0, 1]),
    ],
)
def test_steps_are_counted_and_found_again(step: str, dates: tuple[str, ...], numbers: list[int]) -> None:
    axis = axis_of(step, days(*dates))
    assert axis.count(days(*dates)).tolist() == numbers
    assert axis.count(days(*dates).cast(pl.Datetime("us"))).tolist() == numbers
    assert values(axis, numbers) == list(dates)
    assert axis.at(np.array(numbers)).astype("datetime64[D]").astype(str).tolist() == list(dates)


@pytest.mark.parametrize(
    ("step", "dates", "said"),
    [
        ("1w", ("2024-01-07", "2024-01-15"), "2024-01-15 is no step of problem.frequency 1w, counted from 2024-01-07: "
         "it is a Monday, and the first week begins on a Sunday"),
        ("1b", ("2024-01-05", "2024-01-06"), "it is a Saturday, and business days are Monday to Friday"),
        ("1mo", ("2024-01-01", "2024-02-15"), "every month is dated by day 1 of a month, as the first one is"),
        ("1mo", ("2024-01-31", "2024-02-28"), "every month is dated by the last day of a month, as the first one is"),
        ("1q", ("2024-01-01", "2024-03-01"), "2024-03-01 is no step of problem.frequency 1q"),
        ("1y", ("2024-01-01", "2025-02-01"), "2025-02-01 is no step of problem.frequency 1y"),
    ],
)  # fmt: skip
def test_a_day_between_two_steps_is_named(step: str, dates: tuple[str, ...], said: str) -> None:
    axis = Axis.of(Step(step), days(dates[0]))
    with pytest.raises(DataError, match=said):
        axis.count(days(*dates))
    assert axis.between(days(*dates)).to_list() == [False, True]


@pytest.mark.parametrize(
    ("step", "first", "as_of", "last"),
    [
        ("1d", "2024-02-28", "2024-02-29", "2024-02-29"),
        ("1w", "2024-01-07", "2024-01-20", "2024-01-14"),
        ("1b", "2024-01-05", "2024-01-07", "2024-01-05"),  # a Sunday: Friday is the last one
        ("1mo", "2024-01-01", "2024-02-29", "2024-02-01"),
        ("1mo", "2024-01-01", "2024-02-28", "2024-01-01"),  # February has a day more
        ("1mo", "2024-01-31", "2024-02-29", "2024-02-29"),
        ("1mo", "2024-01-31", "2024-02-28", "2024-01-31"),
        ("1q", "2024-01-01", "2024-12-30", "2024-07-01"),
        ("1q", "2024-01-01", "2024-12-31", "2024-10-01"),
        ("1q", "2024-02-01", "2024-12-31", "2024-08-01"),
        ("1y", "2023-07-01", "2025-06-29", "2023-07-01"),
        ("1y", "2023-07-01", "2025-06-30", "2024-07-01"),
    ],
)
def test_a_step_is_known_when_it_has_ended(step: str, first: str, as_of: str, last: str) -> None:
    axis = axis_of(step, days(first))
    assert str(axis.value(axis.last(date.fromisoformat(as_of)))) == last


def test_a_step_that_has_not_ended_comes_before_none() -> None:
    assert axis_of("1mo", days("2024-02-01")).last(date(2024, 2, 10)) == -1


@pytest.mark.parametrize(
    ("step", "steps", "day"),
    [
        ("1d", 7, "2024-11-22"),
        ("1h", 25, "2024-11-17"),
        ("1w", 2, "2024-11-29"),
        ("1b", 6, "2024-11-25"),
        ("1b", -5, "2024-11-08"),
        ("1mo", 1, "2024-11-30"),
        ("1mo", -1, "2024-09-30"),
        ("1q", 1, "2024-12-31"),
        ("1y", 2, "2025-12-31"),
    ],
)
def test_days_so_many_steps_ahead(step: str, steps: int, day: str) -> None:
    assert str(Step(step).day_ahead(date(2024, 11, 15), steps)) == day


def test_days_have_room_for_steps() -> None:
    room = {step: Step(step).within(6) for step in ("5m", "1h", "1d", "1b", "1w", "1mo", "1y")}
    assert room == {"5m": 1728, "1h": 144, "1d": 6, "1b": 4, "1w": 0, "1mo": 0, "1y": 0}


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_a_day_of_a_clock_change_has_all_its_hours_once(day: date, hours: int) -> None:
    begin = datetime(day.year, day.month, day.day, tzinfo=BERLIN)
    moments = pl.datetime_range(begin, begin + timedelta(days=1), "1h", closed="left", eager=True)
    assert len(moments) == hours and moments.dtype == pl.Datetime("us", "Europe/Berlin")
    axis = axis_of("1h", moments)
    assert axis.count(moments).tolist() == list(range(hours))
    assert [axis.value(number) for number in range(hours)] == moments.to_list()
    assert axis.last(day) == hours - 1 and axis.last(day - timedelta(days=1)) == -1
    shown = local(axis.at(np.arange(hours)), axis.zone).astype("datetime64[h]").astype(int) % 24
    assert shown.tolist() == moments.dt.hour().to_list()


def test_the_evening_of_a_day_whose_clocks_are_changed_at_midnight() -> None:
    begin = datetime(2024, 9, 7, 20, tzinfo=ZoneInfo("America/Santiago"))  # at midnight it is one o'clock
    moments = pl.datetime_range(begin, begin + timedelta(hours=6), "1h", eager=True)
    assert axis_of("1h", moments).last(date(2024, 9, 7)) == 3


@pytest.mark.parametrize("step", ["5m", "1h", "1d", "1b", "1w", "1mo", "1q", "1y"])
@pytest.mark.parametrize("as_of", [date(2024, 2, 29), date(2024, 11, 15), date(2024, 12, 31), date(2023, 1, 1)])
def test_what_is_read_of_a_table_holds_what_is_asked_of_it(step: str, as_of: date) -> None:
    first = {"1b": "2015-01-05", "1q": "2015-02-01"}.get(step, "2015-01-01")
    axis = axis_of(step, days(first))
    last, minute = axis.last(as_of), 60_000_000
    begins = axis.at(np.array([last - 2, last - 1, last + 3])).astype(int) * minute
    assert axis.step.reach(as_of, -2, None) < begins[1] and axis.step.reach(as_of, 3, None) >= begins[2]
