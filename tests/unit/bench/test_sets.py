from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench.sets import BenchSet, Origins, data_root, journey_set, load, rolling, windows
from tasks.core.errors import ConfigError, DataError

Toy = Callable[..., BenchSet]
AS_OF = date(2024, 7, 14)


@pytest.fixture
def ramp(toy: Toy) -> BenchSet:
    """0, 1, ..., 11, with the origins 5, 6 for validation and 8, 9 for testing."""
    return toy([np.arange(12)])


def test_origins_are_counted_back_from_the_end() -> None:
    assert rolling(20, 4, 2, 3) == Origins(train_end=5, valid=(5, 8), test=(12, 15))
    assert rolling(447, 28, 3, 7) == Origins(train_end=362, valid=(362, 369, 376), test=(404, 411, 418))


def test_windows_are_the_steps_after_each_origin(ramp: BenchSet) -> None:
    assert windows(ramp.values, (3, 5), 2).tolist() == [[[4, 5]], [[6, 7]]]


def test_targets_of_both_splits(ramp: BenchSet) -> None:
    assert ramp.origins == Origins(train_end=5, valid=(5, 6), test=(8, 9))
    assert ramp.targets(ramp.origins.test)[0].tolist() == [[[9, 10]], [[10, 11]]]
    assert ramp.targets(ramp.origins.valid)[0].tolist() == [[[6, 7]], [[7, 8]]]


def test_history_ends_with_its_origin_and_is_a_copy(ramp: BenchSet) -> None:
    values, observed = ramp.history(9)
    assert values.tolist() == [list(range(10))] and observed.all()
    values[:] = -1
    assert ramp.values[0, 3] == 3


@pytest.mark.parametrize("origin", [10, 11, -1])
def test_history_refuses_to_show_test_values(ramp: BenchSet, origin: int) -> None:
    with pytest.raises(DataError, match=r"history\(-?\d+\) would show test values; the last test origin is 9"):
        ramp.history(origin)


def test_a_sealed_set_knows_nothing_after_the_last_test_origin(toy: Toy) -> None:
    data = toy([np.arange(12)], past={"heat": np.arange(12.0, dtype=np.float32)[None]}).sealed()
    assert data.values[0].tolist() == [*range(10), 0, 0] and data.observed[0].tolist() == [True] * 10 + [False] * 2
    assert np.isnan(data.past["heat"][0, 10:]).all() and data.past["heat"][0, 9] == 9
    assert data.targets(data.origins.valid)[0].shape == (2, 1, 2)
    with pytest.raises(DataError, match="sealed; tune on validation"):
        data.targets(data.origins.test)


def test_a_set_as_it_was_earlier_ends_with_what_validated(toy: Toy) -> None:
    data = toy([np.arange(16)], past={"heat": np.arange(16.0, dtype=np.float32)[None]})
    assert data.origins == Origins(train_end=9, valid=(9, 10), test=(12, 13))
    earlier = data.earlier(2)
    assert earlier.origins == Origins(train_end=3, valid=(3, 4), test=(6, 7))
    assert earlier.values[0].tolist() == earlier.past["heat"][0].tolist() == list(range(10))
    assert earlier.targets(earlier.origins.test)[0].tolist() == [[[7, 8]], [[8, 9]]]
    assert data.earlier(1).sealed().last == 10
    with pytest.raises(DataError, match="toy: 4 back: nothing is left to learn from; take fewer"):
        data.earlier(4)


def test_arrays_cannot_be_changed(ramp: BenchSet) -> None:
    with pytest.raises(ValueError, match="read-only"):
        ramp.values[0, 0] = 5


def test_fitting_ends_before_testing_or_with_the_training_part(ramp: BenchSet) -> None:
    assert ramp.fit_end == 8
    assert replace(ramp, metric="mse").fit_end == 5


def test_starts_are_the_first_observed_steps(toy: Toy) -> None:
    observed = np.ones((2, 12), np.bool_)
    observed[0, :4], observed[1] = False, False
    assert toy(np.zeros((2, 12)), observed=observed).starts.tolist() == [4, 12]


@pytest.mark.parametrize(
    ("origins", "message"),
    [
        (Origins(5, (5, 7), (8, 9)), "training must end before validation"),  # its window ends with step 9
        (Origins(6, (5,), (8,)), "training must end before validation"),
        (Origins(5, (5,), (8, 10)), "beyond the 12 steps"),
        (Origins(5, (6, 5), (8,)), "each later"),
        (Origins(5, (), (8,)), "both splits"),
    ],
)
def test_overlapping_splits_are_refused(ramp: BenchSet, origins: Origins, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(ramp, origins=origins)


def test_a_covariate_of_another_length_is_refused(ramp: BenchSet) -> None:
    with pytest.raises(DataError, match="promotion: shape does not fit 1 series of 12 steps"):
        replace(ramp, known={"promotion": np.zeros((1, 11), np.float32)})


def test_the_folder_of_the_data_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIGHTSTILL_BENCH_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("NIGHTSTILL_BENCH_DATA")
    assert data_root().parts[-2:] == ("shared", "data")


def test_unknown_sets_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no 'm6'; there are: m5, walmart"):
        load("m6", tmp_path)
    with pytest.raises(ConfigError, match=r"set etth1: .*ETTh1.parquet: no such file; NIGHTSTILL_BENCH_DATA"):
        load("etth1", tmp_path)


def test_channels_are_split_and_scaled_by_the_training_part(tmp_path: Path) -> None:
    rows = 2000
    values = np.where(np.arange(rows) < 1400, np.arange(rows) % 2 * 4.0, 100.0)  # training: mean 2, deviation 2
    days = [date(2000, 1, 1) + timedelta(day) for day in range(rows)]
    dates = [f"{day.year}/{day.month}/{day.day} 0:00" for day in days]
    folder = tmp_path / "ltsf_others"
    folder.mkdir()
    pl.DataFrame({"date": dates, "0": values, "OT": values}).write_parquet(folder / "exchange_rate.parquet")
    data = load("exchange", tmp_path)
    assert data.values[:, :4].tolist() == [[-1, 1, -1, 1]] * 2 and data.values[0, -1] == 49
    # 1,400 rows of training, 200 of validation, 400 of testing: 400 - 96 + 1 windows.
    assert data.origins.train_end == 1399 and data.origins.valid[0] == 1399 and data.origins.valid[-1] == 1503
    assert (data.origins.test[0], data.origins.test[-1], len(data.origins.test)) == (1599, 1903, 305)
    assert data.times[1] == np.datetime64("2000-01-02") and data.series.tolist() == ["0", "OT"]


def test_months_of_ett_have_thirty_days(tmp_path: Path) -> None:
    dates = pl.datetime_range(datetime(2016, 7, 1), datetime(2018, 6, 26), "1h", eager=True)  # noqa: DTZ001
    (tmp_path / "ett").mkdir()
    rng = np.random.default_rng(0)
    pl.DataFrame({"date": dates, "OT": rng.random(len(dates))}).write_parquet(tmp_path / "ett" / "ETTh1.parquet")
    data = load("etth1", tmp_path)
    assert data.values.shape == (1, 14_400) and data.origins.train_end == 8639
    assert (data.origins.test[0], len(data.origins.test), len(data.origins.valid)) == (11_519, 2785, 2785)


def test_m5_has_leading_days_not_started_events_and_snap_of_the_state(tmp_path: Path) -> None:
    days = [datetime(2016, 1, 1) + timedelta(day) for day in range(120)]  # noqa: DTZ001
    folder = tmp_path / "m5"
    folder.mkdir()
    ids = ["FOODS_1_001_CA_1_evaluation", "FOODS_1_001_TX_1_evaluation"]
    wide = {f"{day:%Y-%m-%d}": pl.Series([number, 7], dtype=pl.Int16) for number, day in enumerate(days)}
    pl.DataFrame({"id": ids, **wide}).write_parquet(folder / "sales_wide_2015-03-03_2016-05-22.parquet")
    series = {"item_id": "FOODS_1_001", "dept_id": "FOODS_1", "cat_id": "FOODS"}
    own = {"state_id": ["TX", "CA"], "store_id": ["TX_1", "CA_1"], "first_row": [days[10], days[0]]}
    pl.DataFrame({"id": ids[::-1], **own}).with_columns(
        **{name: pl.lit(value) for name, value in series.items()}
    ).write_parquet(folder / "series.parquet")
    everyday = [*days, days[-1] + timedelta(1)]
    pl.DataFrame(
        {
            "date": everyday,
            "event_type_1": ["National", *[None] * 120],
            "event_type_2": ["Sporting", *[None] * 120],
            "snap_CA": [1, *[0] * 120],
            "snap_TX": [0, 1, *[0] * 119],
            "snap_WI": [0] * 121,
        }
    ).write_parquet(folder / "calendar.parquet")
    data = load("m5", tmp_path)
    assert data.series.tolist() == ["FOODS_1_001_CA_1", "FOODS_1_001_TX_1"] and data.starts.tolist() == [0, 10]
    assert data.values[:, :12].tolist() == [list(range(12)), [0] * 10 + [7, 7]]
    assert data.known["event_national"][0, :2].tolist() == [1, 0] == data.known["event_sporting"][0, :2].tolist()
    assert data.known["snap"][:, :3].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert data.origins == Origins(train_end=35, valid=(35, 42, 49), test=(77, 84, 91))
    assert data.static["state_id"].tolist() == ["CA", "TX"]


def test_walmart_marks_missing_weeks_and_knows_holidays_ahead(tmp_path: Path) -> None:
    weeks = [datetime(2011, 1, 7) + timedelta(weeks=week) for week in range(60)]  # noqa: DTZ001
    folder = tmp_path / "walmart_weekly"
    folder.mkdir()
    table = pl.DataFrame({"Store": 1, "Dept": 2, "Date": weeks, "Weekly_Sales": np.arange(60.0), "IsHoliday": False})
    other = table.with_columns(Dept=pl.lit(1, pl.Int32)).filter(pl.col("Date") != weeks[3])
    pl.concat([table, other.select(table.columns)]).write_parquet(folder / "train.parquet")
    pl.DataFrame({"Store": [1], "Type": ["A"], "Size": [500]}).write_parquet(folder / "stores.parquet")
    holidays = {"Store": 1, "Date": [*weeks, weeks[-1] + timedelta(weeks=1)], "IsHoliday": [False, True] * 30 + [True]}
    pl.DataFrame(holidays).write_parquet(folder / "features.parquet")
    data = load("walmart", tmp_path)
    assert data.series.tolist() == ["1-1", "1-2"] and data.values[:, 2:5].tolist() == [[2, 0, 4], [2, 3, 4]]
    assert data.observed[:, 2:5].tolist() == [[True, False, True], [True] * 3]
    assert data.known["holiday"][0, :3].tolist() == [0, 1, 0] and data.static["size"].tolist() == [500, 500]
    assert data.origins.test == (43, 47, 51) and data.origins.valid == (27, 31, 35)


def test_journey_is_the_products_table_as_arrays(sales: Any) -> None:
    table = sales.table(as_of=AS_OF).collect().filter(pl.col("date") <= AS_OF)
    data = journey_set(table, sales.options)
    assert data.series[0] == "s1-d1" and data.values.shape == (6, 75) and data.horizon == 5 and data.seasons == (7,)
    one = table.filter(pl.col("series_id") == "s2-d3").sort("date")
    assert data.values[5].tolist() == one["units"].to_list() and data.times[-1] == np.datetime64("2024-07-14")
    assert data.known["promo_display"][5].tolist() == one["promo_display"].to_list()
    assert data.known["holiday"].shape == (1, 75) and data.known["holiday"].sum() == 2
    assert data.origins == Origins(train_end=36, valid=(36, 43, 50), test=(55, 62, 69))
