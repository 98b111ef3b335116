"""Windows of any step: nothing lost or doubled at clock changes, local calendars, and months that have ended."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import DataError
from tasks.problems.base import Inputs
from tasks.problems.forecasting.calendar import calendar_features, calendar_names, phases, public_holidays
from tasks.problems.forecasting.options import Options, parse_options
from tasks.problems.forecasting.panel import Panel, build_panel, recent

PLAIN: Mapping[str, Any] = {"static": [], "price": None, "promotions": []}


def options(frequency: str, **changes: Any) -> Options:
    return parse_options({**PLAIN, "frequency": frequency, "context": 8, "season": 7, "horizon": 2, **changes})


def table(dates: pl.Series) -> pl.LazyFrame:
    """One series that counts its rows from 1."""
    return pl.LazyFrame({"date": dates, "series_id": "a", "units": np.arange(1.0, len(dates) + 1)})


def berlin(first: datetime, last: datetime, every: str = "1h") -> pl.Series:
    return pl.datetime_range(first, last, every, eager=True, time_zone="Europe/Berlin")


def seen(panel: Panel) -> list[float]:
    """Units of the observed steps."""
    return [float(value) for value in panel.units[0][panel.observed[0] > 0]]


@pytest.mark.parametrize("every", ["1h", "30m", "5m"])
def test_a_year_of_berlin_loses_and_doubles_nothing(every: str) -> None:
    moments = berlin(datetime(2026, 1, 1), datetime(2026, 12, 31, 23, 55), every)  # noqa: DTZ001
    panel = build_panel(table(moments), date(2026, 12, 31), options(every, season=6))
    assert seen(panel) == list(range(1, len(moments) + 1))
    assert panel.observed.sum() == len(moments) and len(panel.times) == 8 + len(moments) + 2
    assert panel.time(8) == moments[0] and panel.time(8 + len(moments) - 1) == moments[-1]


def test_calendars_are_those_of_local_clocks() -> None:
    chosen = options("1h", season=24, context=25, country="DE")
    moments = berlin(datetime(2026, 3, 27), datetime(2026, 4, 6, 23))  # noqa: DTZ001
    panel = build_panel(table(moments), date(2026, 4, 6), chosen)
    inside = slice(25, 25 + len(moments))
    assert panel.phase[inside].tolist() == moments.dt.hour().to_list()
    weekdays = panel.calendar[inside, 4:].argmax(axis=1) + 1
    assert weekdays.tolist() == moments.dt.weekday().to_list()
    easter = [moment for moment, flag in zip(moments, panel.holiday[0, inside], strict=True) if flag]
    assert len(easter) == 48 and {moment.date() for moment in easter} == {date(2026, 4, 3), date(2026, 4, 6)}


def test_what_is_known_ends_with_the_local_day() -> None:
    moments = berlin(datetime(2026, 3, 20), datetime(2026, 4, 6, 23))  # noqa: DTZ001
    for as_of in (date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)):
        panel = build_panel(table(moments), as_of, options("1h"))
        last = panel.time(len(panel.times) - 3)
        assert last.date() == as_of and last.hour == 23 and panel.observed[0, -3:].tolist() == [1, 0, 0]
        near = build_panel(recent(table(moments), as_of, options("1h")), as_of, options("1h"), 10)
        assert np.array_equal(near.units, panel.units[:, -10:]) and np.array_equal(near.calendar, panel.calendar[-10:])


def test_an_hour_that_is_there_twice_is_one_without_its_zone() -> None:
    moments = berlin(datetime(2026, 10, 24), datetime(2026, 10, 26, 23))  # noqa: DTZ001
    naive = moments.dt.replace_time_zone(None)
    assert naive.is_duplicated().sum() == 2, "what the rule of unique keys refuses"


def test_a_release_scores_the_hours_after_the_change(sales: Any) -> None:
    problem = sales.problem(**{**HOURLY, "horizon": 4})
    moments = berlin(datetime(2026, 10, 1), datetime(2026, 10, 25, 23))  # noqa: DTZ001
    before = problem.features({"series": table(moments)}, date(2026, 10, 24))

    class Last:
        names = ("units",)

        def __call__(self, inputs: Inputs) -> Any:
            return np.repeat(inputs["units"][:, -1:, None], 4, axis=1) + np.zeros(4, np.float32)

    found = problem.predict({"series": table(moments)}, date(2026, 10, 24), before.contract, Last())
    assert [moment.isoformat() for moment in found["date"]] == [
        "2026-10-25T00:00:00+02:00",
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]
    assert found["p50"].to_list() == [24 * 24.0] * 4


HOURLY: dict[str, Any] = {
    **PLAIN, "frequency": "1h", "season": 24, "context": 48, "min_history": 48, "origin_step": 6,
}  # fmt: skip


def test_a_dataset_keeps_its_zone(sales: Any, tmp_path: Path) -> None:
    problem = sales.problem(**{**HOURLY, "horizon": 4})
    moments = berlin(datetime(2026, 3, 1), datetime(2026, 3, 29, 23))  # noqa: DTZ001
    dataset = problem.features({"series": table(moments)}, date(2026, 3, 29))
    dataset.save(tmp_path)
    loaded = problem.load(tmp_path)
    rows = loaded.splits["test"]
    (example,) = problem.examples(loaded, rows, {"candidate": problem.naive(loaded, rows)}, 1)
    assert example.dates == tuple(f"2026-03-29T{hour}:00:00+02:00" for hour in (20, 21, 22, 23))
    assert loaded.panel.time(0).tzinfo == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("frequency", "dates", "as_of", "known"),
    [
        ("1mo", ["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"], date(2024, 2, 29), 3),
        ("1mo", ["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"], date(2024, 2, 28), 2),
        ("1mo", ["2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31"], date(2024, 3, 30), 3),
        ("1q", ["2023-04-01", "2023-07-01", "2023-10-01"], date(2023, 12, 30), 2),
        ("1y", ["2021-01-01", "2022-01-01", "2023-01-01"], date(2023, 12, 31), 3),
        ("1b", ["2024-03-01", "2024-03-04", "2024-03-05"], date(2024, 3, 3), 1),
        ("1w", ["2020-12-20", "2020-12-27", "2021-01-03"], date(2021, 1, 9), 3),
    ],
)
def test_what_is_known_of_longer_steps(frequency: str, dates: list[str], as_of: date, known: int) -> None:
    rows = table(pl.Series([date.fromisoformat(text) for text in dates]))
    panel = build_panel(rows, as_of, options(frequency))
    assert seen(panel) == list(range(1, known + 1))
    assert str(panel.time(8).date()) == dates[0] and len(panel.times) == 8 + known + 2
    near = build_panel(recent(rows, as_of, options(frequency)), as_of, options(frequency), 10)
    assert np.array_equal(near.units, panel.units[:, -10:]) and np.array_equal(near.times, panel.times[-10:])


def test_a_first_month_that_has_not_ended_is_no_row() -> None:
    with pytest.raises(DataError, match="no rows up to 2024-02-10"):
        build_panel(table(pl.Series([date(2024, 2, 1)])), date(2024, 2, 10), options("1mo"))


def test_two_weekdays_are_refused_by_name() -> None:
    sundays = [date(2024, 1, 7) + timedelta(weeks=week) for week in range(5)]
    assert build_panel(table(pl.Series(sundays)), date(2024, 2, 10), options("1w")).observed.sum() == 5
    with pytest.raises(DataError, match="it is a Monday, and the first week begins on a Sunday"):
        build_panel(table(pl.Series([*sundays, date(2024, 2, 5)])), date(2024, 2, 10), options("1w"))


def test_calendars_of_longer_steps_have_their_hand_computed_values() -> None:
    friday = np.array(["2024-03-01"], dtype="datetime64[D]")
    assert calendar_features(friday, "1b").tolist() == [[0, 0, 0, 0, 1, 0, 1]]
    quarter = np.array(["2025-07-02"], dtype="datetime64[D]")  # 182 of 365 days
    for frequency in ("1mo", "1q", "1y"):
        found = calendar_features(quarter, frequency)
        assert found == pytest.approx(np.array([[0.0086069, -0.9999630, -0.0172132, 0.9998518]]), abs=1e-6)
        assert not public_holidays(np.array(["2024-01-01"], dtype="datetime64[D]"), "US", frequency).any()
    assert {name: len(calendar_names(name)) for name in ("1b", "1mo", "1q", "1y", "5m")} == {
        "1b": 7, "1mo": 4, "1q": 4, "1y": 4, "5m": 11,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("frequency", "season", "expected"),
    [
        ("1b", 5, {"2024-03-01": 4, "2024-03-04": 0}),
        ("1mo", 12, {"2024-01-01": 0, "2024-12-31": 11}),
        ("1q", 4, {"2024-01-01": 0, "2024-12-31": 3, "2024-05-01": 1}),
        ("1y", 4, {"1972-01-01": 2, "2024-01-01": 2}),
        ("5m", 288, {"2024-07-01T00:05": 1, "2024-07-01T23:55": 287}),
        ("1w", 52, {"2020-12-28": 51, "2021-01-04": 0, "2024-02-29": 8}),
    ],
)
def test_the_place_in_the_season_of_other_steps(frequency: str, season: int, expected: dict[str, int]) -> None:
    times = np.array(list(expected), dtype="datetime64[m]")
    assert phases(times, frequency, season).tolist() == list(expected.values())
