"""Rows of a table as dense arrays: whatever their order, gaps and beginnings, and however the windows are taken."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import DataError
from tasks.problems.forecasting import grid
from tasks.problems.forecasting.options import Options, parse_options
from tasks.problems.forecasting.panel import Panel, build_panel, recent
from tasks.problems.forecasting.windows import code_books, encode, gather

AS_OF = date(2024, 7, 10)
FIRST = date(2024, 7, 1)


@pytest.fixture(autouse=True, params=[0, 5000])
def few_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shortcuts of large tables, and without."""
    monkeypatch.setattr(grid, "FEW_ROWS", request.param)


def options(**changes: Any) -> Options:
    section = {"context": 8, "horizon": 2, "static": ["shop"], "price": "price", "promotions": ["snap", "event"]}
    return parse_options({**section, **changes})


def table() -> pl.DataFrame:
    """Ten known days and two ahead: b is whole, a lacks 5 July, d begins on 9 July, c only after `as_of`."""
    rows = pl.DataFrame({"date": [FIRST + timedelta(days=day) for day in range(12)], "day": range(12)})
    series = pl.DataFrame({"series_id": ["b", "a", "d", "c"], "number": [1, 2, 3, 4], "begin": [0, 0, 8, 10]})
    units = (pl.col("number") * 100 + pl.col("day")).cast(pl.Float32)
    return (
        series.join(rows, how="cross")
        .filter(pl.col("day") >= pl.col("begin"), (pl.col("series_id") != "a") | (pl.col("day") != 4))
        .select(
            "date",
            "series_id",
            shop=pl.when(pl.col("day") < 9).then(pl.lit("old")).otherwise("series_id"),
            units=pl.when(pl.col("date") <= AS_OF).then(units),
            price=units / 10,
            snap=(pl.col("day") % 2).cast(pl.Float32),
            event=pl.when(pl.col("day") == 3).then(None).otherwise(0.5),
        )
    )


def assert_equal(one: Panel, other: Panel) -> None:
    assert one.names.tolist() == other.names.tolist()
    assert {name: values.tolist() for name, values in one.static.items()} == {
        name: values.tolist() for name, values in other.static.items()
    }
    for name, values in one.arrays().items():
        assert np.array_equal(values, other.arrays()[name], equal_nan=values.dtype.kind == "f"), name
        assert values.dtype == other.arrays()[name].dtype, name


def test_rows_stand_where_they_belong() -> None:
    panel = build_panel(table().lazy(), AS_OF, options())
    assert panel.names.tolist() == ["a", "b", "d"], "c has no history"
    assert panel.static["shop"].tolist() == ["a", "b", "d"], "the newest day up to as_of says it"
    assert len(panel.times) == 8 + 12
    assert panel.time(8) == datetime.fromisoformat("2024-07-01")
    assert panel.units[:, 8:].tolist() == [
        [200, 201, 202, 203, 0, 205, 206, 207, 208, 209, 0, 0],
        [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 308, 309, 0, 0],
    ]
    assert panel.observed.sum(axis=1).tolist() == [9, 10, 2] and not panel.units[:, :8].any()
    assert panel.ahead[:, 8:, 1].tolist() == [
        [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
    ]
    assert panel.ahead[0, 8:, 2].tolist() == [0.5, 0.5, 0.5, 0, 0, *[0.5] * 7]
    assert np.exp(panel.ahead[0, 10:15, 0]) == pytest.approx([20.2, 20.3, np.nan, 20.5, 20.6], nan_ok=True)


@pytest.mark.parametrize(
    "order",
    [
        lambda rows: rows.sort("series_id", "date"),
        lambda rows: rows.sort("date", "units"),
        lambda rows: rows.sort("units", descending=True),
        lambda rows: rows.sample(fraction=1, shuffle=True, seed=3),
        lambda rows: rows.with_columns(pl.col("series_id", "shop").cast(pl.Categorical)),
        lambda rows: rows.with_columns(pl.col("date").cast(pl.Datetime("us"))),
        lambda rows: pl.concat([rows.head(5), rows.tail(-5)], rechunk=False),
    ],
)
def test_order_types_and_chunks_of_the_rows_do_not_matter(order: Any) -> None:
    assert_equal(build_panel(table().lazy(), AS_OF, options()), build_panel(order(table()).lazy(), AS_OF, options()))


def test_unordered_rows_of_other_values_are_noticed() -> None:
    rows = table().sample(fraction=1, shuffle=True, seed=3)
    swapped = rows.with_columns(pl.col("units").shift(-1))
    with pytest.raises(AssertionError, match="units"):
        assert_equal(build_panel(rows.lazy(), AS_OF, options()), build_panel(swapped.lazy(), AS_OF, options()))


def test_the_last_steps_are_those_of_the_whole() -> None:
    rows = recent(table().lazy(), AS_OF, options())
    whole, last = build_panel(rows, AS_OF, options()), build_panel(rows, AS_OF, options(), 10)
    assert len(last.times) == 10 and last.times.tolist() == whole.times[-10:].tolist()
    assert np.array_equal(last.units, whole.units[:, -10:])
    assert np.array_equal(last.ahead, whole.ahead[:, -10:], equal_nan=True)
    assert np.array_equal(last.phase, whole.phase[-10:]) and last.static["shop"].tolist() == ["a", "b", "d"]


def test_the_last_steps_of_series_that_all_begin_late_are_padded() -> None:
    rows = table().filter(pl.col("series_id") == "d").lazy()
    assert build_panel(rows, AS_OF, options(), 10).units.tolist() == [[0, 0, 0, 0, 0, 0, 308, 309, 0, 0]]


def test_a_day_between_the_weeks_is_refused() -> None:
    weeks = [FIRST, FIRST + timedelta(days=7), FIRST + timedelta(days=15)]
    rows = pl.DataFrame({"date": weeks, "series_id": "a", "units": 1.0})
    plain = options(frequency="1w", static=[], price=None, promotions=[])
    assert build_panel(rows.head(2).lazy(), date(2024, 7, 21), plain).observed.sum() == 2
    said = "2024-07-16 is no step of problem.frequency 1w, counted from 2024-07-01: it is a Tuesday, and the first week"
    with pytest.raises(DataError, match=f"{said} begins on a Monday"):
        build_panel(rows.lazy(), date(2024, 7, 21), plain)


@pytest.mark.parametrize("lines", [[0, 1, 2], [2, 0, 0, 2], [1]])
@pytest.mark.parametrize("shared", [False, True])
def test_windows_of_one_origin_are_those_taken_among_others(lines: list[int], shared: bool) -> None:
    day = pl.col("date") == date(2024, 7, 11)
    rows = table().with_columns(holiday=day if shared else day & (pl.col("series_id") != "a"))
    chosen = options()
    panel = build_panel(rows.lazy(), AS_OF, chosen)
    assert len(panel.holiday) == (1 if shared else 3)
    codes = encode(panel, code_books(panel, np.arange(3), chosen))
    one = gather(panel, codes, np.array(lines), np.full(len(lines), 16), chosen)
    among = gather(panel, codes, np.array([*lines, 0]), np.array([16] * len(lines) + [17]), chosen)
    for name, values in one.items():
        assert values.shape == (len(lines), *among[name].shape[1:]) and values.dtype == among[name].dtype
        assert np.array_equal(values, among[name][:-1]), name
    assert not np.array_equal(among["units"][-1], among["units"][lines.index(0)] if 0 in lines else among["units"][0])


def test_windows_of_the_only_series() -> None:
    chosen = options()
    panel = build_panel(table().filter(pl.col("series_id") == "b").lazy(), AS_OF, chosen)
    codes = encode(panel, code_books(panel, np.arange(1), chosen))
    inputs = gather(panel, codes, np.zeros(3, dtype=np.int64), np.full(3, 17), chosen)
    assert {len(values) for values in inputs.values()} == {3}
    assert inputs["units"].tolist() == [[102, 103, 104, 105, 106, 107, 108, 109]] * 3
