"""Hours with gaps and many series of months become a benchmark's set."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from bench.package_sets import MONTHLY, hourly_set, monthly_set
from bench.sets import Origins
from tasks.problems.forecasting.options import parse_options

HOURLY = {"frequency": "1h", "horizon": 24, "context": 48, "season": 24, "static": [], "test_origins": 2}
BEGIN = datetime(2024, 1, 1, 22)  # noqa: DTZ001


def hours(count: int) -> pl.DataFrame:
    """Rows of 22 o'clock and later, whose value is their hour's number; hour 30 is missing."""
    number = [hour for hour in range(count) if hour != 30]
    sky = ["Rain" if hour % 2 else "Clear" for hour in number]
    sky[50] = "Squall"
    return pl.DataFrame(
        {
            "date": [BEGIN + timedelta(hours=hour) for hour in number],
            "units": np.array(number, np.float64),
            "heat": [float(hour) for hour in number],
            "sky": sky,
        }
    )


def test_hours_are_whole_days_with_gaps_and_the_past_is_carried_on() -> None:
    options = parse_options(
        HOURLY
        | {"valid_origins": 2, "origin_step": 24, "country": "US"}
        | {"covariates": {"heat": {"known": "past"}}, "categories": {"sky": {"known": "past"}}}
    )
    data = hourly_set("roads", hours(2 + 24 * 9 + 5), options)
    assert data.values.shape == (1, 24 * 9) and data.times[0] == np.datetime64("2024-01-02T00")
    assert (data.values[0, 0], data.values[0, 27], data.values[0, 28], data.observed[0, 28]) == (2, 29, 0, False)
    assert data.past["heat"][0, 27:30].tolist() == [29, 29, 31]
    # One squall in a hundred and more hours is no column, and is none of the others.
    assert {*data.past} == {"heat", "sky_clear", "sky_rain"} and data.past["sky_rain"][0, 48:52].tolist() == [
        0,
        0,
        0,
        1,
    ]
    assert data.past["sky_clear"][0, 48:52].tolist() == [1, 0, 1, 0]
    # The 15th of January is Martin Luther King's day, which is not in these nine days; New Year is before them.
    assert not data.known
    assert data.origins == Origins(train_end=119, valid=(119, 143), test=(167, 191))
    assert all((data.times[origin] - np.datetime64("2024-01-01T23")) % np.timedelta64(24, "h") == 0
               for origin in data.origins.test)  # fmt: skip


def test_holidays_are_known_ahead() -> None:
    options = parse_options(HOURLY | {"country": "US", "valid_origins": 2, "origin_step": 24, "covariates": {}})
    data = hourly_set("roads", hours(24 * 18), options)
    assert {*data.known} == {"holiday"} and data.known["holiday"].sum() == 24
    assert data.known["holiday"][0, data.times == np.datetime64("2024-01-15T12")] == 1


def test_months_of_many_series_have_gaps_where_one_did_not_tell() -> None:
    months = [date(2000 + month // 12, month % 12 + 1, 1) for month in range(80)]
    rows = pl.DataFrame({"date": months * 2, "series_id": ["b"] * 80 + ["a"] * 80, "units": np.arange(160.0)})
    rows = rows.filter((pl.col("series_id") == "b") | (pl.col("date") != date(2001, 1, 1)))
    data = monthly_set("towns", rows, parse_options(MONTHLY | {"promotions": []}))
    assert data.series.tolist() == ["a", "b"] and data.values[:, 11:14].tolist() == [[91, 0, 93], [11, 12, 13]]
    assert data.observed[:, 12].tolist() == [False, True] and data.times[12] == np.datetime64("2001-01-01")
    assert data.origins.test == tuple(range(56, 68)) and data.origins.valid == tuple(range(33, 45))
