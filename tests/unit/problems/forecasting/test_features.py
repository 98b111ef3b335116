"""Forecasting inputs: nothing of the future but what is known ahead, one code for training and scoring, contracts."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import Floats, Inputs
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.problems.forecasting.calendar import (
    calendar_features,
    calendar_names,
    phases,
    public_holidays,
    steps_to_next,
)
from tasks.problems.forecasting.dataset import Windows, groups_of
from tasks.problems.forecasting.options import Options, parse_options
from tasks.problems.forecasting.windows import encode
from tasks.problems.models import build_model

AS_OF = date(2024, 7, 14)
OLDEST, NEWEST, VALID, TEST = date(2024, 5, 16), date(2024, 6, 29), date(2024, 7, 4), date(2024, 7, 9)
DEPARTMENTS = ("<unknown>", "d1", "d2", "d3")
PHASES = {"phase": ("0", "1", "2", "3", "4", "5", "6")}
KNOWN_AHEAD = {"price": 9.0, "promo_display": 0.5, "promo_mailer": 0.123}


def rows_at(dataset: Windows, origin: date) -> Any:
    """Row numbers of all windows whose last known day is `origin`."""
    position = int(np.flatnonzero(dataset.panel.times == (origin - date(1970, 1, 1)).days * 1440)[0])
    return np.flatnonzero(dataset.origins == position)


def inputs_at(dataset: Windows, origin: date) -> Inputs:
    rows = rows_at(dataset, origin)
    assert len(rows) == 6
    return dataset.inputs(rows)


def changed(dataset: Windows, one: Inputs, other: Inputs) -> set[str]:
    """Names of the features that differ, as `input.feature`, or as `input` where it is one feature."""
    settings = dataset.contract.settings
    names = {
        "future": settings["future_features"],
        "static": list(dataset.contract.categories),
        "past": [*settings["future_features"], *settings["calendar_features"]],
        "calendar": settings["calendar_features"],
    }
    alone = ["units", "observed"]
    assert list(one) == list(other) == [*alone, *names]
    return {part for part in alone if not np.array_equal(one[part], other[part])} | {
        f"{part}.{name}"
        for part, features in names.items()
        for place, name in enumerate(features)
        if not np.array_equal(one[part][..., place], other[part][..., place])
    }


def spoilt(table: pl.LazyFrame, origin: date) -> pl.LazyFrame:
    """Other units from the day after `origin` on, and other known-ahead values from the day after the horizon on."""
    after, beyond = pl.col("date") > origin, pl.col("date") > origin + timedelta(days=5)
    return table.with_columns(
        pl.when(after).then(pl.col("units") * 7 + 100).otherwise("units").alias("units"),
        pl.when(beyond).then(~pl.col("holiday")).otherwise("holiday").alias("holiday"),
        *[pl.when(beyond).then(value).otherwise(name).alias(name) for name, value in KNOWN_AHEAD.items()],
    )


@pytest.mark.parametrize("origin", [OLDEST, NEWEST, VALID, TEST])
def test_nothing_after_an_origin_changes_its_inputs(sales: Any, origin: date) -> None:
    other = sales.problem().features({"series": spoilt(sales.table(), origin)}, AS_OF)
    assert changed(other, inputs_at(sales.dataset, origin), inputs_at(other, origin)) == set()
    targets = [dataset.target(rows_at(dataset, origin)) for dataset in (sales.dataset, other)]
    assert np.array_equal(targets[0] * 7 + 100, targets[1]), "the table was not spoilt"


def scaled_by_the_whole_series(dataset: Windows, origin: date) -> Inputs:
    inputs = inputs_at(dataset, origin)
    return {**inputs, "units": inputs["units"] / dataset.panel.units.mean(axis=1)[:, None]}


def a_day_too_late(dataset: Windows, origin: date) -> Inputs:
    rows = rows_at(dataset, origin)
    late = Windows(dataset.panel, dataset.contract, dataset.lines, dataset.origins + 1, dict(dataset.splits))
    return late.inputs(rows)


def holidays_beyond_the_window(dataset: Windows, origin: date) -> Inputs:
    inputs = inputs_at(dataset, origin)
    days = dataset.origins[rows_at(dataset, origin)][:, None] + np.arange(1, 6)
    future = inputs["future"].copy()
    future[..., 4] = np.maximum(1 - dataset.panel.holiday_in[:, days[0]] / 7, 0)
    return {**inputs, "future": future}


@pytest.mark.parametrize(
    ("leaking", "noticed"),
    [
        (scaled_by_the_whole_series, "units"),
        (a_day_too_late, "units"),
        (holidays_beyond_the_window, "future.holiday_ahead"),
    ],
)
def test_inputs_that_do_leak_are_noticed(sales: Any, leaking: Callable[[Windows, date], Inputs], noticed: str) -> None:
    other = sales.problem().features({"series": spoilt(sales.table(), TEST)}, AS_OF)
    assert noticed in changed(other, leaking(sales.dataset, TEST), leaking(other, TEST))


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("price", 9.0, {"future.price_change"}),
        ("promo_display", 0.5, {"future.promo_display"}),
        ("promo_mailer", 0.123, {"future.promo_mailer"}),
        # That a holiday is near is known on the days before it too.
        ("holiday", True, {"future.holiday", "future.holiday_ahead", "past.holiday_ahead"}),
    ],
)
def test_what_is_known_ahead_shows_on_its_own_days_only(
    sales: Any, column: str, value: float | bool, allowed: set[str]
) -> None:
    inside = pl.col("date").is_between(TEST + timedelta(days=2), TEST + timedelta(days=5))
    table = sales.table().with_columns(pl.when(inside).then(value).otherwise(column).alias(column))
    other = sales.problem().features({"series": table}, AS_OF)
    before, after = inputs_at(sales.dataset, TEST), inputs_at(other, TEST)
    assert changed(other, before, after) == allowed
    if column != "holiday":
        assert np.array_equal(before["future"][:, 0], after["future"][:, 0])
    place = other.contract.settings["future_features"].index("price_change" if column == "price" else column)
    assert not (before["future"][:, 1:, place] == after["future"][:, 1:, place]).any()


def test_series_that_began_after_training_change_no_code(sales: Any) -> None:
    newcomers = sales.table(("a-new",)).filter(pl.col("date") > NEWEST)
    other = sales.problem().features({"series": pl.concat([sales.table(), newcomers])}, AS_OF)
    assert other.contract.categories == {"store_id": ("<unknown>", "s1", "s2"), "department": DEPARTMENTS} | PHASES
    rows = rows_at(other, TEST)
    assert other.inputs(rows)["static"].tolist()[:4] == [[2, 7, 11], [2, 7, 12], [2, 7, 13], [2, 8, 11]]
    assert np.array_equal(other.inputs(rows)["static"][3:], inputs_at(sales.dataset, TEST)["static"])


def test_rows_after_as_of_are_not_read(sales: Any) -> None:
    later = sales.table(as_of=AS_OF + timedelta(days=40))
    other = sales.problem().features({"series": later}, AS_OF)
    rows = np.arange(len(sales.dataset.groups))
    assert changed(other, sales.dataset.inputs(rows), other.inputs(rows)) == set()
    assert np.array_equal(sales.dataset.target(rows), other.target(rows))
    assert other.contract == sales.dataset.contract
    assert np.array_equal(sales.dataset.panel.units, other.panel.units)
    assert not other.panel.units[:, -5:].any() and not other.panel.observed[:, -5:].any()


def test_the_order_of_the_tables_rows_does_not_matter(sales: Any) -> None:
    moved = (pl.col("series_id") == "s1-d1") & (pl.col("date") > NEWEST)
    table = sales.table().with_columns(pl.when(moved).then(pl.lit("s2")).otherwise("store_id").alias("store_id"))
    one, other = (
        sales.problem().features({"series": rows}, AS_OF) for rows in (table, table.sort("units", descending=True))
    )
    rows = np.arange(len(one.groups))
    assert changed(one, one.inputs(rows), other.inputs(rows)) == set()
    assert np.array_equal(one.target(rows), other.target(rows))
    assert one.panel.static["store_id"].tolist() == ["s2", "s1", "s1", "s2", "s2", "s2"], "the newest day says it"


def test_target_days_of_splits_do_not_overlap(sales: Any) -> None:
    dataset = sales.dataset
    origins = {
        name: sorted({dataset.panel.time(at).date() for at in dataset.origins[rows]})
        for name, rows in dataset.splits.items()
    }
    assert origins["test"] == [TEST] and origins["valid"] == [VALID]
    assert (origins["train"][0], origins["train"][1], origins["train"][-1]) == (OLDEST, date(2024, 5, 20), NEWEST)
    assert {name: len(rows) for name, rows in dataset.splits.items()} == {"train": 72, "valid": 6, "test": 6}


def test_a_series_is_trained_on_after_its_first_weeks_and_tested_from_its_first_day(sales: Any) -> None:
    table = sales.table().filter((pl.col("series_id") != "s1-d1") | (pl.col("date") >= date(2024, 6, 16)))
    dataset = sales.problem().features({"series": table}, AS_OF)
    line = dataset.lines == 0
    assert [int(line[dataset.splits[name]].sum()) for name in ("train", "valid", "test")] == [1, 1, 1]
    first = dataset.origins[dataset.splits["train"]][line[dataset.splits["train"]]][0]
    assert dataset.panel.time(first).date() == NEWEST


def test_too_short_a_history_is_refused_with_the_days_it_needs(sales: Any) -> None:
    with pytest.raises(
        DataError, match="table: 28 steps of history up to as_of, but training, validation and test need 29"
    ):
        sales.problem().features({"series": sales.table().filter(pl.col("date") >= date(2024, 6, 17))}, AS_OF)
    assert sales.problem().features({"series": sales.table().filter(pl.col("date") >= date(2024, 6, 16))}, AS_OF)
    with pytest.raises(DataError, match="no rows up to 2024-04-01"):
        sales.problem().features({"series": sales.table()}, date(2024, 4, 1))
    with pytest.raises(DataError, match="units are zero in all of the training period"):
        sales.problem().features({"series": sales.table().with_columns(units=pl.lit(0.0))}, AS_OF)


def test_windows_have_hand_made_values(sales: Any) -> None:
    days = [date(2024, 5, 1) + timedelta(days=offset) for offset in range(80)]
    price = [2.0] * 69 + [4.0] * 11
    table = pl.LazyFrame(
        {
            "date": days,
            "series_id": "a",
            "store_id": "s",
            "department": None,
            "units": [float(number) for number in range(80)],
            "price": price,
            "promo_display": [number / 100 for number in range(80)],
            "promo_mailer": 0.0,
            "holiday": [day == date(2024, 7, 11) for day in days],
        },
        schema_overrides={"department": pl.String},
    ).filter(pl.col("date") != date(2024, 7, 8))  # a gap on the day before the origin, position 68
    dataset = sales.problem().features({"series": table}, AS_OF)
    inputs = dataset.inputs(rows_at(dataset, TEST))
    units, observed, future, past = (inputs[name][0] for name in ("units", "observed", "future", "past"))
    assert units.tolist() == [*range(56, 68), 0, 69]
    assert observed.tolist() == [1] * 12 + [0, 1]
    # Price 2 until the gap, 4 from the origin on: log(2/4) and log(4/4).
    assert past[:, 0] == pytest.approx([-0.6931472] * 13 + [0], abs=1e-6)
    assert future[:, 0].tolist() == [0] * 5
    assert future[:, 1] == pytest.approx([0.7, 0.71, 0.72, 0.73, 0.74])
    assert future[:, 3].tolist() == [0, 1, 0, 0, 0]
    assert future[:, 4] == pytest.approx([6 / 7, 1, 0, 0, 0])
    assert past[-6:, 4] == pytest.approx([0, 1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7], abs=1e-6)
    assert past[-1, 5:12].tolist() == [0, 1, 0, 0, 0, 0, 0], "9 July 2024 is a Tuesday"
    assert inputs["calendar"][0, 0, :7].tolist() == [0, 0, 1, 0, 0, 0, 0] and inputs["static"][0].tolist() == [2, 8, 10]
    assert dataset.target(rows_at(dataset, TEST)).tolist() == [[70, 71, 72, 73, 74]]
    assert dataset.contract.categories == {"store_id": ("<unknown>", "s"), "department": ("<unknown>", "")} | PHASES


def test_the_mean_of_units_is_that_of_observed_training_days(sales: Any) -> None:
    training = pl.col("date") <= date(2024, 7, 4)  # the last target day of the last training origin
    sold = pl.when(training).then(10.0).otherwise(900.0)
    table = sales.table().with_columns(units=pl.when(pl.col("date").dt.day() == 13).then(None).otherwise(sold))
    assert sales.problem().features({"series": table}, AS_OF).contract.statistics == {"mean_units": 10.0}


def test_the_calendar_has_its_hand_computed_values() -> None:
    days = np.array(["2024-02-15", "2024-03-01"], dtype="datetime64[D]")
    # 14 of 29 days through the month: angle 2 pi 14/29 = 3.0332681
    assert calendar_features(days) == pytest.approx(
        np.array([[0, 0, 0, 1, 0, 0, 0, 0.1081190, -0.9941380], [0, 0, 0, 0, 1, 0, 0, 0, 1]]), abs=1e-6
    )


def test_calendars_of_other_frequencies_have_their_hand_computed_values() -> None:
    hours = np.array(["2024-07-01T06:00", "2024-07-07T18:00"], dtype="datetime64[m]")  # a Monday, a Sunday
    assert calendar_features(hours, "1h") == pytest.approx(
        np.array([[1, 0, 0, -1, 1, 0, 0, 0, 0, 0, 0], [-1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 1]]), abs=1e-6
    )
    weeks = np.array(["2023-01-01", "2023-07-02"], dtype="datetime64[D]")
    # 182 of 365 days: angle 2 pi 182/365 = 3.1329846, and twice that; then 1 of 31 days, 2 pi/31 = 0.2026834.
    assert calendar_features(weeks, "1w") == pytest.approx(
        np.array([[0, 1, 0, 1, 0, 1], [0.0086069, -0.9999630, -0.0172132, 0.9998518, 0.2012985, 0.9795299]]), abs=1e-6
    )
    assert calendar_features(weeks, "1mo") == pytest.approx(calendar_features(weeks, "1w")[:, :4])
    assert [len(calendar_names(frequency)) for frequency in ("1w", "1mo", "1d", "30m")] == [6, 4, 9, 11]


@pytest.mark.parametrize(
    ("frequency", "season", "expected"),
    [
        ("1d", 7, {"2024-07-01": 0, "2024-07-07": 6}),
        ("1h", 24, {"2024-07-01T00:00": 0, "2024-07-03T23:00": 23}),
        ("15m", 96, {"2024-07-01T06:15": 25}),
        ("1h", 168, {"2024-07-01T05:00": 5, "2024-07-07T23:00": 167}),
        ("1w", 52, {"2023-01-01": 0, "2023-01-08": 1, "2023-12-31": 51, "2024-12-31": 51}),
        ("1d", 1, {"2024-07-01": 0}),
    ],
)
def test_the_place_in_the_season(frequency: str, season: int, expected: dict[str, int]) -> None:
    times = np.array(list(expected), dtype="datetime64[m]")
    assert phases(times, frequency, season).tolist() == list(expected.values())


def hourly(hours: int) -> pl.LazyFrame:
    begin = datetime.fromisoformat("2024-07-01")
    return pl.LazyFrame(
        {
            "date": [begin + timedelta(hours=hour) for hour in range(hours)],
            "series_id": "a",
            "units": [float(hour % 24) - 12 for hour in range(hours)],
        }
    )


HOURLY: dict[str, Any] = {
    "frequency": "1h", "season": 24, "context": 48, "horizon": 6, "static": [], "price": None, "promotions": [],
    "positive": False, "min_history": 48, "origin_step": 6,
}  # fmt: skip


def test_hours_and_values_below_zero(sales: Any) -> None:
    dataset = sales.problem(**HOURLY).features({"series": hourly(240)}, date(2024, 7, 10))
    last = dataset.splits["test"]
    inputs = dataset.inputs(last)
    assert {name: values.shape[1:] for name, values in inputs.items()} == {
        "units": (48,),
        "observed": (48,),
        "future": (6, 2),
        "static": (1,),
        "past": (48, 13),
        "calendar": (6, 11),
    }
    assert dataset.panel.time(dataset.origins[last[0]]) == datetime.fromisoformat("2024-07-10T17:00")
    assert inputs["static"].tolist() == [[18]]
    assert inputs["units"][0, -1] == 5 and inputs["observed"][0, -1] == 1
    assert dataset.target(last).tolist() == [[6, 7, 8, 9, 10, 11]]
    assert dataset.contract.statistics["mean_units"] == pytest.approx(6, abs=0.05), "of |y|"


def test_a_row_between_the_steps_is_refused(sales: Any) -> None:
    late = hourly(240).with_columns(
        pl.when(pl.col("units") == 3).then(pl.col("date") + timedelta(minutes=5)).otherwise("date").alias("date")
    )
    with pytest.raises(
        DataError, match=r"2024-07-01 15:05:00 is no step of problem.frequency 1h, counted from 2024-07-01"
    ):
        sales.problem(**HOURLY).features({"series": late}, date(2024, 7, 10))


def test_holidays_are_those_of_the_country() -> None:
    days = np.array(["2024-07-03", "2024-07-04", "2024-07-14", "2025-07-04"], dtype="datetime64[D]")
    assert public_holidays(days, "US").tolist() == [False, True, False, True]
    assert public_holidays(days, "FR").tolist() == [False, False, True, False]
    assert public_holidays(days, None).tolist() == [False] * 4
    with pytest.raises(ConfigError, match=r"problem.country: no holidays known for 'ZZ'"):
        public_holidays(days, "ZZ")


def test_days_to_the_next_holiday() -> None:
    flags = np.array([[False, False, True, False], [True, False, False, True]])
    assert steps_to_next(flags).tolist() == [[2, 1, 0, 37], [0, 2, 1, 0]]


def test_holidays_are_computed_when_the_table_has_none(sales: Any) -> None:
    table = sales.table().drop("holiday")
    computed = sales.problem(country="US").features({"series": table}, AS_OF)
    assert inputs_at(computed, date(2024, 6, 29))["future"][0, :, 3].tolist() == [0, 0, 0, 0, 1]
    without = sales.problem().features({"series": table}, AS_OF)
    assert not inputs_at(without, date(2024, 6, 29))["future"][:, :, 3].any()


class Recording:
    """Answers 1, 2, 3 and 2.5 times the row's number; keeps what it was given."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.seen: list[Inputs] = []

    def __call__(self, inputs: Inputs) -> Floats:
        self.seen.append(inputs)
        rows = np.arange(1, len(inputs["units"]) + 1, dtype=np.float32)
        return rows[:, None, None] * np.ones((1, 5, 1), np.float32) * np.array([1, 2, 3, 2.5], np.float32)


def seen_by_scoring(sales: Any, table: pl.LazyFrame, as_of: date, contract: Any) -> tuple[Inputs, pl.DataFrame]:
    """Inputs that a model gets, and the table that is made of its answers 1, 2, 3 and 2.5 times the row's number."""
    model = Recording()
    result = sales.problem().predict({"series": table}, as_of, contract, model)
    assert len(model.seen) == 1
    return model.seen[0], result


@pytest.mark.parametrize("origin", [NEWEST, TEST])
def test_scoring_sees_what_training_saw(sales: Any, origin: date) -> None:
    inputs, result = seen_by_scoring(sales, sales.table(as_of=origin), origin, sales.dataset.contract)
    assert changed(sales.dataset, inputs_at(sales.dataset, origin), inputs) == set()
    assert result.columns == ["date", "series_id", "store_id", "department", "p10", "p50", "p90", "mean"]
    assert result.height == 30
    first, last = origin + timedelta(days=1), origin + timedelta(days=5)
    assert result.row(0) == (first, "s1-d1", "s1", "d1", 1, 2, 3, 2.5)
    assert result.row(29) == (last, "s2-d3", "s2", "d3", 6, 12, 18, 15)


def test_scoring_gathers_only_what_the_model_reads(sales: Any) -> None:
    model = Recording("units", "static")
    sales.problem().predict({"series": sales.table()}, AS_OF, sales.dataset.contract, model)
    assert list(model.seen[0]) == ["units", "static"]


def test_scoring_leaves_out_a_series_that_ended_before_the_window(sales: Any) -> None:
    gone = (pl.col("series_id") == "s1-d1") & (pl.col("date") > AS_OF - timedelta(days=14))
    result = sales.problem().predict(
        {"series": sales.table().filter(~gone)}, AS_OF, sales.dataset.contract, Recording()
    )
    assert result["series_id"].unique().sort().to_list() == ["s1-d2", "s1-d3", "s2-d1", "s2-d2", "s2-d3"]


def test_scoring_gives_an_unknown_store_the_unknown_code(sales: Any) -> None:
    table = sales.table(("a-new", "s2"))
    inputs, _ = seen_by_scoring(sales, table, AS_OF, sales.dataset.contract)
    assert inputs["static"].tolist() == [[0, 7, 11], [0, 7, 12], [0, 7, 13], [0, 9, 11], [0, 9, 12], [0, 9, 13]]


def test_a_columns_codes_go_on_where_those_of_the_column_before_end(sales: Any) -> None:
    books = {**PHASES, "store_id": ("<unknown>", "s2"), "department": ("<unknown>", "d1", "d3")}
    # Store s1 and department d2 are other values: the first codes, 7 and 9.
    assert encode(sales.dataset.panel, books).tolist() == [[7, 10], [7, 9], [7, 11], [8, 10], [8, 9], [8, 11]]


def test_equal_values_of_two_static_columns_have_codes_of_their_own(sales: Any) -> None:
    dataset = sales.problem().features({"series": sales.table().with_columns(store_id="department")}, AS_OF)
    assert dataset.contract.categories["store_id"] == dataset.contract.categories["department"] == DEPARTMENTS
    phases, stores, departments = (set(codes.tolist()) for codes in dataset.inputs(np.arange(84))["static"].T)
    assert phases <= set(range(7)) and (stores, departments) == ({8, 9, 10}, {12, 13, 14})


def test_a_dataset_is_saved_and_loaded_and_equal_data_gives_equal_bytes(sales: Any, tmp_path: Path) -> None:
    sales.dataset.save(tmp_path / "a")
    sales.problem().features({"series": sales.table()}, AS_OF).save(tmp_path / "b")
    for name in ("panel.safetensors", "series.json", "contract.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = sales.problem().load(tmp_path / "a")
    rows = np.arange(84)
    assert changed(loaded, sales.dataset.inputs(rows), loaded.inputs(rows)) == set()
    assert list(loaded.contract.categories) == ["phase", "store_id", "department"], (
        "the order that models were built in"
    )
    assert {name: values.dtype.name for name, values in loaded.inputs(rows).items()} == {
        "units": "float32",
        "observed": "float32",
        "future": "float32",
        "static": "int64",
        "past": "float32",
        "calendar": "float32",
    }
    assert np.array_equal(loaded.target(rows), sales.dataset.target(rows))
    assert all(np.array_equal(loaded.splits[name], rows) for name, rows in sales.dataset.splits.items())
    assert np.array_equal(loaded.segments["store_id"], sales.dataset.segments["store_id"])


def test_a_contract_without_an_order_of_categories_keeps_that_of_its_file(sales: Any) -> None:
    data = contract_to_json(sales.dataset.contract)
    del data["category_order"]
    read = contract_from_json(json.loads(json.dumps(data, sort_keys=True)))
    assert list(read.categories) == ["department", "phase", "store_id"]
    static, segments = sales.dataset.under(read).inputs(np.arange(84))["static"], sales.dataset.segments
    values = np.array([value for book in read.categories.values() for value in book])
    assert np.array_equal(static[:, 0], sales.dataset.inputs(np.arange(84))["static"][:, 0])
    for column, name in ((1, "department"), (2, "store_id")):
        assert np.array_equal(values[static[:, column]], segments[name])


def test_an_older_model_gets_tonights_rows_in_its_own_encoding(sales: Any) -> None:
    then = sales.problem().features({"series": sales.table(as_of=VALID)}, VALID)
    # The newcomer sorts first and so shifts the codes of all other stores.
    tonight = sales.problem().features({"series": sales.table(("a-new", "s1", "s2"))}, AS_OF)
    assert then.contract.statistics != tonight.contract.statistics
    origin = date(2024, 6, 29)
    former, rows = inputs_at(then, origin), rows_at(tonight, origin)
    assert tonight.inputs(rows)["static"][:, 1].tolist() == [8, 8, 8, 9, 9, 9, 10, 10, 10]
    under = tonight.under(then.contract)
    assert under.inputs(rows)["static"][:, 1].tolist() == [7, 7, 7, 8, 8, 8, 9, 9, 9]
    assert under.contract == then.contract
    torch.manual_seed(0)  # four neurons may all be silent
    model = build_model(Spec(kind="linear-mlp", hidden=4), then.contract)
    exported = export_onnx(model, then.contract, former)
    expected = run_onnx(exported, former)
    assert np.array_equal(run_onnx(exported, under.inputs(rows))[3:], expected)
    # Tonight's code of d3 lies beyond the older table; d1 and d2 of both stores show that the codes are others.
    wrong = run_onnx(exported, tonight.inputs(rows[[3, 4, 6, 7]]))
    assert not np.isclose(wrong, expected[[0, 1, 3, 4]]).all(), "tonight's codes fit as well"
    for name in ("train", "valid", "test"):
        assert np.array_equal(under.splits[name], tonight.splits[name])
    assert np.array_equal(under.target(rows), tonight.target(rows))
    assert np.array_equal(under.segments["store_id"], tonight.segments["store_id"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 4}, "its problem.horizon is 4, tonight's is 5"),
        ({"context": 21}, "its problem.context is 21, tonight's is 14"),
        ({"quantiles": [0.5]}, r"its problem.quantiles is \(0.5,\), tonight's is \(0.1, 0.5, 0.9\)"),
        ({"price": None}, "its problem.price is None, tonight's is price"),
        ({"country": "US"}, "its problem.country is US, tonight's is None"),
    ],
)
def test_a_contract_of_other_inputs_is_refused(sales: Any, changes: dict[str, Any], message: str) -> None:
    other = sales.problem(**changes).features({"series": sales.table()}, AS_OF).contract
    with pytest.raises(ValueError, match=message):
        sales.dataset.under(other)


def test_a_contract_of_features_that_are_made_otherwise_now_is_refused(sales: Any) -> None:
    contract = sales.dataset.contract
    renamed = ["discount", *contract.settings["future_features"][1:]]
    with pytest.raises(ValueError, match=r"its future_features are .'discount', 'promo_display'"):
        sales.dataset.under(replace(contract, settings={**contract.settings, "future_features": renamed}))


def test_a_contract_whose_inputs_are_named_otherwise_is_refused(sales: Any) -> None:
    contract = sales.dataset.contract
    rest = {name: contract.inputs[name] for name in ("future", "static", "past", "calendar")}
    former = replace(contract, inputs={"history": ("float32", (14, 2)), **rest})
    message = "its inputs history are no longer made; those made are units, observed, future, static, past, calendar"
    with pytest.raises(ValueError, match=message):
        sales.dataset.under(former)


def test_a_contract_may_differ_in_what_only_chooses_rows(sales: Any) -> None:
    other = sales.problem(stride=2, min_history=7).features({"series": sales.table()}, AS_OF).contract
    assert (
        changed(sales.dataset, sales.dataset.under(other).inputs(np.arange(84)), sales.dataset.inputs(np.arange(84)))
        == set()
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "problem.colour: Extra inputs are not permitted"),
        ({"horizon": 0}, "problem.horizon: Input should be greater than 0, got 0"),
        ({"context": 7}, "context: expected more than one season of 7 steps"),
        ({"static": ["phase"]}, "problem.static: phase is the name of a feature; name another column"),
        ({"static": ["series_id"]}, "problem.static: series_id is a key"),
        ({"promotions": ["price"]}, "problem.promotions: price is named in price already"),
        ({"promotions": ["promo", "promo"]}, "problem.promotions: promo is named in promotions already"),
        ({"promotions": ["holiday"]}, "problem.promotions: holiday is a column of its own"),
        ({"static": ["p50"]}, "problem.static: p50 is the name of an output"),
        ({"static": ["mean"]}, "problem.static: mean is the name of an output unless mean is false; name another"),
        ({"metric": "mse"}, r"metric: mse is the error of a single output; set quantiles: \[0.5\]"),
        ({"normalise_steps": 15}, "normalise_steps: .* at most the context of 14 steps"),
        ({"normalise_steps": 4, "normalise": "volatility"}, "normalise_steps: not of normalise: volatility"),
        ({"frequency": "2d"}, "problem.frequency: Input should be '1y', '1q', '1mo', '1w', '1b', '1d'"),
        ({"quantiles": [0.1, 0.9]}, "quantiles: expected increasing levels between 0 and 1 with 0.5 among them"),
        ({"quantiles": [0.5, 0.1]}, "quantiles: expected increasing levels"),
        ({"quantiles": [0.5, 1.0]}, "quantiles: expected increasing levels"),
    ],
)
def test_a_wrong_option_is_refused_by_name(sales: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sales.problem(**changes)


def test_the_table_contract_says_what_is_known_ahead(sales: Any) -> None:
    (contract,) = sales.problem().tables()
    assert contract.keys == ("date", "series_id")
    assert [column.name for column in contract.columns if not column.known_ahead] == ["units"]
    assert [column.name for column in contract.columns if not column.required] == ["holiday"]
    assert (contract.target, contract.entity, contract.horizon) == ("units", ("series_id",), 5)


def test_groups_of_few_series_are_stretches_of_time_that_they_share() -> None:
    """A teacher that saw another index on a day has seen that day."""
    options = Options(horizon=5)
    origins, lines = np.repeat(np.arange(300), 3), np.tile(np.arange(3), 300)
    groups = groups_of(lines, origins, 3, options)
    assert np.array_equal(groups, origins // 20)
    assert np.array_equal(groups_of(lines, origins, 40, options), lines), "of many series each is one"
    short = origins < 100
    assert len(np.unique(groups_of(lines[short], origins[short], 3, options))) == 3 * 5, "folds need some groups"


@pytest.mark.parametrize(
    ("given", "outputs"),
    [
        ({}, ("p10", "p50", "p90", "mean")),
        ({"mean": False, "static": ["mean"]}, ("p10", "p50", "p90")),
        ({"quantiles": [0.25, 0.5], "metric": "mae"}, ("p25", "p50", "mean")),
        ({"quantiles": [0.5], "metric": "mae"}, ("p50",)),
        ({"quantiles": [0.5], "metric": "mse"}, ("p50",)),
        ({"quantiles": [0.5], "mean": True}, ("p50", "mean")),
    ],
)
def test_a_mean_stands_beside_quantiles_unless_a_section_wants_none_or_a_single_number(
    sales: Any, given: dict[str, Any], outputs: tuple[str, ...]
) -> None:
    options = sales.problem(**given).options
    assert options.outputs == outputs
    assert parse_options(options.model_dump(mode="json")) == options, "a contract says which it was"


def test_a_champion_without_a_mean_is_compared_and_teaches_none(sales: Any) -> None:
    tonight, before = sales.dataset, sales.problem(mean=False).features({"series": sales.table()}, AS_OF)
    former = before.contract
    assert tonight.under(former).contract == former
    theirs = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    ours = tonight.answers(former)(theirs)
    assert np.array_equal(ours[:, :, :3], theirs) and np.array_equal(ours[:, :, 3], theirs[:, :, 1])
    assert np.array_equal(before.answers(tonight.contract)(ours), theirs), "back: its mean is left out"
    with pytest.raises(ValueError, match=r"forecasts no mean \(problem\.mean\), tonight's students learn one"):
        tonight.taught_by(former)
    assert np.array_equal(before.taught_by(tonight.contract)(ours), theirs)
    other = sales.problem(mean=True, quantiles=[0.5]).features({"series": sales.table()}, AS_OF)
    with pytest.raises(ValueError, match="it answers forecasting"):
        tonight.answers(other.contract)
