"""Checks of tables whose steps are no days: everything is counted in steps, and a row between two is named first."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tasks.tables.table import Column, TableContract
from tasks.tables.validation.options import CheckOptions
from tasks.tables.validation.rules import Fact, table_facts, usable
from tasks.tables.validation.suite import validate

AS_OF = date(2026, 3, 31)


def contract(step: str, horizon: int = 2) -> TableContract:
    kind: Any = "moment" if step.endswith(("m", "h")) else "date"
    columns = (
        Column("date", kind, key=True, known_ahead=True),
        Column("series_id", "string", key=True, known_ahead=True),
        Column("units", "number", nullable=True, low=0),
    )
    return TableContract(columns, "date", "units", ("series_id",), horizon, step=step)


def facts(dates: list[Any], step: str, **options: Any) -> dict[str, Fact]:
    """Of two series that have 10 units on each date up to `as_of`."""
    made = contract(step)
    known = [moment for moment in dates if str(moment) < str(AS_OF + timedelta(days=1))]
    table = pl.concat(
        pl.DataFrame(
            {"date": dates, "series_id": name, "units": [10.0] * len(known) + [None] * (len(dates) - len(known))}
        )
        for name in ("a", "b")
    )
    found = table_facts(table, usable(table, made), made, CheckOptions(**options), AS_OF, {}, None)
    return {f"{fact.column}: {fact.rule}": fact for fact in found}


def broken(found: dict[str, Fact]) -> list[str]:
    return [rule for rule, fact in found.items() if fact.count]


def hours(first: str, count: int) -> list[datetime]:
    return [datetime.fromisoformat(first) + timedelta(hours=hour) for hour in range(count)]


def weeks(first: date, count: int) -> list[date]:
    return [first + timedelta(weeks=week) for week in range(count)]


def months(count: int) -> list[date]:
    """First days of months, the last of which is March 2026."""
    return [date(2026 - (count - 1 - place + 9) // 12, (2 - (count - 1 - place)) % 12 + 1, 1) for place in range(count)]


def test_hours_are_counted() -> None:
    whole = hours("2026-02-28", 32 * 24)
    assert broken(facts([*whole, *hours("2026-04-01", 2)], "1h")) == []
    assert broken(facts([*whole, *hours("2026-04-01", 3)], "1h")) == ["date: no row after 2026-04-01 01:00:00"]
    late = facts(whole[:-3], "1h")
    assert late["date: hours without data before as_of 2026-03-31"].value == 3
    assert broken(facts(whole[:-3], "1h", max_stale_steps=3)) == []
    assert broken(facts(whole[:-3], "1h", max_stale_days=1)) == []
    gap = facts([*whole[:100], *whole[104:]], "1h", max_gap_steps=3)["date: most hours missing in a row"]
    assert (gap.value, gap.high, gap.count) == (4, 3, 1)
    assert gap.sample == ({"date": "2026-03-04 08:00:00", "missing_hours_before": 4},)


def test_a_row_between_two_hours_is_told_before_what_follows_from_it() -> None:
    found = facts([*hours("2026-02-28", 10), datetime(2026, 2, 28, 10, 30)], "1h")  # noqa: DTZ001
    assert broken(found)[0] == "date: every hour, counted from 2026-02-28 00:00:00"
    assert found[broken(found)[0]].sample[0]["date"] == "2026-02-28 10:30:00"


def test_mixed_first_weekdays_are_told_as_a_weekday() -> None:
    sundays = weeks(date(2025, 9, 7), 30)
    assert broken(facts(sundays, "1w")) == []
    mondays = [*sundays[:-1], sundays[-1] + timedelta(days=1)]
    assert broken(facts(mondays, "1w"))[0] == (
        "date: every week, counted from 2025-09-07: it is a Monday, and the first week begins on a Sunday"
    )


def test_months_that_have_not_ended_have_no_value() -> None:
    assert broken(facts(months(24), "1mo")) == []
    assert broken(facts(months(24)[:-1], "1mo")) == ["date: months without data before as_of 2026-03-31"]
    made = contract("1mo")
    table = pl.DataFrame({"date": months(24), "series_id": "a", "units": 10.0})
    early = date(2026, 3, 30)
    found = table_facts(table, usable(table, made), made, CheckOptions(), early, {}, None)
    (rule,) = [fact.rule for fact in found if fact.count]
    assert rule == "no value after the last month that has ended by as_of 2026-03-30"


def test_the_volume_of_months_is_that_of_months() -> None:
    found = facts(months(40), "1mo")
    assert found["units: units a month: most of the last 3 months / median before"].value == 1
    assert found["date: rows a month: mean of the last 3 months / median before"].value == 1


def test_business_days_have_no_weekends() -> None:
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(90)]
    work = [day for day in days if day.weekday() < 5]
    assert broken(facts(work, "1b")) == []
    found = facts(days, "1b")
    assert broken(found)[0].endswith("it is a Saturday, and business days are Monday to Friday")


def test_an_entity_that_left_is_missed_in_the_last_step() -> None:
    made = contract("1mo")
    table = pl.concat(
        pl.DataFrame({"date": months(length), "series_id": name, "units": 10.0})
        for name, length in (("a", 24), ("b", 24))
    ).filter((pl.col("series_id") == "a") | (pl.col("date") < date(2026, 3, 1)))
    found = table_facts(table, usable(table, made), made, CheckOptions(), AS_OF, {}, None)
    (fact,) = [fact for fact in found if fact.count]
    assert fact.rule == "share of entities of the month before that are still there" and fact.value == 0.5


@pytest.mark.parametrize(("step", "stale", "gap"), [("1d", 9, 6), ("1w", 1, 0), ("1h", 216, 144), ("1b", 6, 4)])
def test_limits_in_days_have_room_for_steps(step: str, stale: int, gap: int) -> None:
    from tasks.tables.steps import Step

    options = CheckOptions(max_stale_days=9)
    assert (options.stale(Step(step)), options.gap(Step(step))) == (stale, gap)
    assert CheckOptions(max_stale_steps=2, max_gap_steps=3).gap(Step(step)) == 3


def test_an_hour_that_is_there_twice_is_refused_and_the_two_of_a_clock_change_are_not() -> None:
    made = replace(contract("1h"), zone="Europe/Berlin")
    moments = pl.datetime_range(
        datetime(2026, 10, 20), datetime(2026, 10, 25, 23), "1h", eager=True, time_zone="Europe/Berlin"  # noqa: DTZ001
    )  # fmt: skip
    table = pl.DataFrame({"date": moments, "series_id": "a", "units": 10.0})
    as_of, about = date(2026, 10, 25), {"rows": len(table)}

    def failed(rows: pl.DataFrame) -> list[str]:
        return [str(check) for check in validate(rows, about, made, CheckOptions(), as_of, None) if not check.success]

    assert failed(table) == []
    (said,) = failed(pl.concat([table, table[100:101]]))
    assert said.startswith("date+series_id: unique date, series_id: observed 2 of 146 rows, e.g. date=2026-10-24 04:00")
    (said,) = failed(table.with_columns(pl.col("date").dt.replace_time_zone(None)))
    assert said.startswith("date+series_id: unique date, series_id: observed 2 of 145 rows, e.g. date=2026-10-25 02:00")
