"""Dates and moments as tables have them: days of any zone, text of any ISO form, and what is neither."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tasks.tables.moments import is_timed, kept_whole, read_moments
from tasks.tables.table import Column, TableContract

Read = list[Any]


def contract(step: str = "1d", zone: str = "Europe/Berlin") -> TableContract:
    kind: Any = "moment" if step.endswith(("m", "h")) else "date"
    return TableContract((Column("date", kind, key=True),), "date", None, (), step=step, zone=zone)


def read(values: pl.Series, step: str = "1d", zone: str = "Europe/Berlin") -> pl.Series:
    made = contract(step, zone)
    return read_moments(values.alias("date"), made.columns[0], made)


def midnights(zone: str, count: int = 365) -> tuple[pl.Series, list[date]]:
    """First moments of days, as the clocks of a zone have them."""
    everyday = [date(2024, 1, 1) + timedelta(days=offset) for offset in range(count)]
    begun = [
        datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC")) for day in everyday
    ]
    return pl.Series("date", begun).dt.convert_time_zone(zone), everyday


@pytest.mark.parametrize("zone", ["Europe/London", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_local_midnights_are_dates_in_summer_and_in_winter(zone: str, unit: Any) -> None:
    moments, everyday = midnights(zone)
    assert read(moments.dt.cast_time_unit(unit)).to_list() == everyday


@pytest.mark.parametrize("zone", ["America/Santiago", "Africa/Cairo"])
def test_a_day_that_begins_at_one_o_clock_is_a_date(zone: str) -> None:
    moments, everyday = midnights(zone)
    assert (moments.dt.hour() == 1).sum() == 1
    assert read(moments).to_list() == everyday


def test_midnights_of_the_workloads_zone_are_dates_in_whatever_zone_they_are_written() -> None:
    moments, everyday = midnights("Europe/Berlin")
    assert read(moments.dt.convert_time_zone("UTC")).to_list() == everyday
    assert read(moments.dt.convert_time_zone("UTC"), zone="Europe/London").null_count() == 365


def test_a_time_of_day_is_no_date() -> None:
    values = pl.Series("date", [datetime(2024, 1, 1), datetime(2024, 1, 2, 5)])  # noqa: DTZ001 naive, as in files
    assert read(values).to_list() == [date(2024, 1, 1), None]
    made = contract()
    assert kept_whole(values, made.columns[0], made).dtype == pl.Datetime("us")


@pytest.mark.parametrize(
    ("step", "texts", "expected"),
    [
        ("1d", ["2024-02-29", "2024-03-01 00:00:00", "2024-03-02T00:00Z", "2024-03-02T23:00+00:00"],
         ["2024-02-29", "2024-03-01", "2024-03-02", "2024-03-03"]),
        ("1d", ["2024-03-01T00:00+01:00", "2024-03-01T00:00-05:00", "2024-03-01T07:00Z"], ["2024-03-01"] * 2 + [None]),
        ("1d", ["2024-02-29", "2024-03-01T00:00", "2023-02-29", None], ["2024-02-29", "2024-03-01", None, None]),
        ("1mo", ["2026-11", "2026-12-01", "2026-13"], ["2026-11-01", "2026-12-01", None]),
        ("1q", ["2026-Q4", "2026Q1", "2026-q2", "2026-Q5"], ["2026-10-01", "2026-01-01", "2026-04-01", None]),
        ("1y", ["2026", "2027-01-01", "26"], ["2026-01-01", "2027-01-01", None]),
        ("1w", ["2020-W53", "2021-W01", "2021-W53"], ["2020-12-28", "2021-01-04", None]),
        ("1d", ["2026-11", "2026", "2026-Q4"], [None, None, None]),
    ],
)  # fmt: skip
def test_text_of_dates(step: str, texts: Read, expected: Read) -> None:
    found = read(pl.Series("date", texts, pl.String), step)
    assert found.dtype == pl.Date
    assert found.cast(pl.String).to_list() == expected


def test_years_and_months_of_a_csv_are_numbers() -> None:
    assert read(pl.Series("date", [2026, 2027]), "1y").to_list() == [date(2026, 1, 1), date(2027, 1, 1)]
    assert read(pl.Series("date", [202611, 202613]), "1mo").to_list() == [date(2026, 11, 1), None]
    assert read(pl.Series("date", [2026]), "1q").dtype == pl.Int64


@pytest.mark.parametrize(
    "texts",
    [
        ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"],
        ["2026-10-25 00:00Z", "2026-10-25 01:00Z", "2026-10-25T02:00:00.000Z"],
        ["2026-10-24T20:00-0400", "2026-10-24T21:00-0400", "2026-10-24T22:00-0400"],
    ],
)
def test_text_with_offsets_becomes_the_zones_and_keeps_the_doubled_hour(texts: list[str]) -> None:
    found = read(pl.Series("date", texts), "1h")
    assert found.dtype == pl.Datetime("us", "Europe/Berlin")
    assert [moment.isoformat() for moment in found] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_text_of_moments_with_and_without_offsets_is_unclear() -> None:
    found = read(pl.Series("date", ["2026-10-25T02:00Z", "2026-10-25T02:00"]), "1h")
    assert found.null_count() == 1


def test_moments_without_a_zone_stay_as_they_are() -> None:
    found = read(pl.Series("date", ["2026-10-25 02:00", "2026-10-25T03:00:00", "2026-10-26"]), "1h")
    assert found.dtype == pl.Datetime("us")
    assert [str(moment) for moment in found] == ["2026-10-25 02:00:00", "2026-10-25 03:00:00", "2026-10-26 00:00:00"]
    assert read(found.dt.cast_time_unit("ms"), "1h").to_list() == found.to_list()


def test_moments_of_another_zone_become_the_workloads() -> None:
    moments = pl.Series("date", [datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("America/New_York"))])
    found = read(moments, "30m")
    assert found.dtype == pl.Datetime("us", "Europe/Berlin") and found[0].hour == 18


def test_days_are_no_moments_and_are_left_for_validation() -> None:
    found = read(pl.Series("date", [date(2026, 7, 1)]), "1h")
    assert not is_timed(found.dtype, contract("1h"))
    assert is_timed(pl.Datetime("us"), contract("1h")) and not is_timed(pl.Datetime("us"), contract())
