"""What must not be scored is refused in one line that names column and rule."""

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from tasks.core.errors import DataError
from tasks.tables.table import Column, TableContract
from tasks.tables.validation import guard
from tasks.tables.validation.guard import require
from tasks.tables.validation.options import Checks

CONTRACT = TableContract(
    columns=(Column("date", "date", key=True), Column("shop", "string", key=True), Column("units", "number", low=0)),
    date="date",
    target="units",
    entity=("shop",),
)
CHECKS = Checks.model_validate({"max_units": 100})
GOOD = pl.DataFrame({"date": [date(2026, 1, 1), date(2026, 1, 2)], "shop": ["a", "a"], "units": [1.0, 2.0]})


@pytest.fixture(autouse=True, params=[0, 5000])
def few_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shortcuts of large tables, and without."""
    monkeypatch.setattr(guard, "FEW_ROWS", request.param)


def test_a_good_table_passes() -> None:
    require(GOOD, CONTRACT, CHECKS)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda t: t.clear(), "table: number of rows"),
        (lambda t: t.drop("units"), "units: column exists: observed missing; the table has: date, shop"),
        (lambda t: t.with_columns(pl.col("units").cast(pl.String)), "units: type .* observed string"),
        (
            lambda t: t.with_columns(units=float("nan")),
            "units: no NaN or infinity: broken by 2 rows, e.g. row 0: date=2026-01-01",
        ),
        (lambda t: t.with_columns(units=-pl.col("units")), "units: >= 0: broken by 2 rows, e.g. row 0: .*units=-1.0"),
        (lambda t: t.with_columns(units=pl.lit(101.0)), "units: <= 100: broken by 2 rows"),
        (lambda t: pl.concat([t, t.head(1)]), "date.shop: unique date, shop: broken by 2 rows"),
        (lambda t: t.with_columns(shop=pl.lit(None, pl.String)), "shop: not null: broken by 2 rows"),
    ],
)
def test_a_bad_table_is_refused_by_column_and_rule(spoil: Callable[[pl.DataFrame], pl.DataFrame], line: str) -> None:
    with pytest.raises(DataError, match=line) as refused:
        require(spoil(GOOD), CONTRACT, CHECKS)
    assert "\n" not in str(refused.value)


def days(shop: str, *numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"date": [date(2026, 1, number) for number in numbers], "shop": shop, "units": 1.0})


@pytest.mark.parametrize(
    "table",
    [
        pl.concat([days("a", 1, 2, 3), days("b", 1, 2, 3)]),
        pl.concat([days("b", 2, 3), days("a", 1), days("b", 1)]),
        pl.concat([days("a", 3, 1, 2), days("b", 3)]),
        pl.concat([days("a", 1, 2), days("b", 1)]).with_columns(pl.col("shop").cast(pl.Categorical)),
        pl.concat([days("a", 1, 2), days("b", 1)]).with_columns(other=float("nan")),
        days("a", 1),
    ],
)
def test_a_good_table_passes_in_any_order(table: pl.DataFrame) -> None:
    require(table, CONTRACT, CHECKS)


@pytest.mark.parametrize(
    "table",
    [
        pl.concat([days("a", 1, 2, 2, 3), days("b", 1, 2, 3)]),
        pl.concat([days("a", 1, 2, 3), days("b", 1, 2, 3), days("a", 2)]),
        pl.concat([days("a", 1, 2), days("b", 1, 2), days("a", 2, 3)]),
        pl.concat([days("a", 3, 1, 2, 1), days("b", 1)]),
        pl.concat([days("a", 1), days("b", 1), days("a", 2), days("b", 1)]),
        pl.concat([days("a", 1, 2, 2), days("b", 1)]).with_columns(pl.col("shop").cast(pl.Categorical)),
    ],
)
def test_a_key_that_is_there_twice_is_refused_wherever_it_stands(table: pl.DataFrame) -> None:
    with pytest.raises(
        DataError, match=r"date.shop: unique date, shop: broken by 2 rows, e.g. row \d: date=2026-01-0[12]"
    ):
        require(table, CONTRACT, CHECKS)


def test_a_key_of_several_columns_may_repeat_in_one_of_them() -> None:
    columns = (*CONTRACT.columns[:2], Column("item", "string", key=True), CONTRACT.columns[2])
    contract = TableContract(columns=columns, date="date", target="units", entity=("shop", "item"))
    table = pl.concat([days("a", 1, 2).with_columns(item=pl.lit(item)) for item in "xy"])
    require(table, contract, CHECKS)
    with pytest.raises(DataError, match="unique date, shop, item: broken by 4 rows"):
        require(table.with_columns(item=pl.lit("x")), contract, CHECKS)


def test_a_key_without_a_date_is_checked_too() -> None:
    columns = (Column("date", "date"), Column("shop", "string", key=True), CONTRACT.columns[2])
    contract = TableContract(columns=columns, date="date", target="units", entity=("shop",))
    require(pl.concat([days("a", 2), days("b", 1)]), contract, CHECKS)
    with pytest.raises(DataError, match="shop: unique shop: broken by 2 rows"):
        require(days("a", 1, 2), contract, CHECKS)


@pytest.mark.parametrize("bad", [[float("inf"), float("-inf")], [float("nan"), 1.0], [1.0, float("-inf")]])
def test_numbers_that_are_none_do_not_hide_each_other(bad: list[float]) -> None:
    count = sum(value != 1.0 for value in bad)
    with pytest.raises(DataError, match=f"units: no NaN or infinity: broken by {count} rows"):
        require(GOOD.with_columns(units=pl.Series(bad)), CONTRACT, CHECKS)


def test_large_numbers_are_not_taken_for_infinite() -> None:
    large = GOOD.with_columns(units=pl.Series([3e38, 3e38], dtype=pl.Float32))
    with pytest.raises(DataError, match="units: <= 100: broken by 2 rows"):
        require(large, CONTRACT, CHECKS)
