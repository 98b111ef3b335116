"""What must not be scored is refused in one line that names column and rule."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl
import pytest

from tasks.core.errors import DataError, RuleError
from tasks.tables.table import Column, TableContract
from tasks.tables.validation import guard
from tasks.tables.validation.guard import Guard
from tasks.tables.validation.options import CheckOptions
from tasks.tables.validation.rules import row_rules

CONTRACT = TableContract(
    columns=(Column("date", "date", key=True), Column("shop", "string", key=True), Column("units", "number", low=0)),
    date="date",
    target="units",
    entity=("shop",),
)
CHECKS = CheckOptions(max_units=100)
GOOD = pl.DataFrame({"date": [date(2026, 1, 1), date(2026, 1, 2)], "shop": ["a", "a"], "units": [1.0, 2.0]})


@pytest.fixture(autouse=True, params=[0, 5000])
def few_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shortcuts of large tables, and without."""
    monkeypatch.setattr(guard, "FEW_ROWS", request.param)


def test_a_good_table_passes() -> None:
    Guard(CONTRACT, CHECKS).require(GOOD)


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
        Guard(CONTRACT, CHECKS).require(spoil(GOOD))
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
    Guard(CONTRACT, CHECKS).require(table)


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
        Guard(CONTRACT, CHECKS).require(table)


def test_a_key_of_several_columns_may_repeat_in_one_of_them() -> None:
    columns = (*CONTRACT.columns[:2], Column("item", "string", key=True), CONTRACT.columns[2])
    contract = TableContract(columns=columns, date="date", target="units", entity=("shop", "item"))
    table = pl.concat([days("a", 1, 2).with_columns(item=pl.lit(item)) for item in "xy"])
    Guard(contract, CHECKS).require(table)
    with pytest.raises(DataError, match="unique date, shop, item: broken by 4 rows"):
        Guard(contract, CHECKS).require(table.with_columns(item=pl.lit("x")))


def test_a_key_without_a_date_is_checked_too() -> None:
    columns = (Column("date", "date"), Column("shop", "string", key=True), CONTRACT.columns[2])
    contract = TableContract(columns=columns, date="date", target="units", entity=("shop",))
    Guard(contract, CHECKS).require(pl.concat([days("a", 2), days("b", 1)]))
    with pytest.raises(DataError, match="shop: unique shop: broken by 2 rows"):
        Guard(contract, CHECKS).require(days("a", 1, 2))


@pytest.mark.parametrize("bad", [[float("inf"), float("-inf")], [float("nan"), 1.0], [1.0, float("-inf")]])
def test_numbers_that_are_none_do_not_hide_each_other(bad: list[float]) -> None:
    count = sum(value != 1.0 for value in bad)
    with pytest.raises(DataError, match=f"units: no NaN or infinity: broken by {count} rows"):
        Guard(CONTRACT, CHECKS).require(GOOD.with_columns(units=pl.Series(bad)))


def test_large_numbers_are_not_taken_for_infinite() -> None:
    large = GOOD.with_columns(units=pl.Series([3e38, 3e38], dtype=pl.Float32))
    with pytest.raises(DataError, match="units: <= 100: broken by 2 rows"):
        Guard(CONTRACT, CHECKS).require(large)


def test_rules_are_made_once_and_follow_the_columns_of_each_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(columns: list[Column], *arguments: Any) -> Any:
        made.append(len(columns))
        return row_rules(columns, *arguments)

    monkeypatch.setattr(guard, "row_rules", counted)
    optional = replace(CONTRACT, columns=(*CONTRACT.columns, Column("extra", "number", required=False, low=0)))
    one = Guard(optional, CHECKS)
    for _ in range(3):
        one.require(GOOD)
    with pytest.raises(RuleError, match="extra: >= 0"):
        one.require(GOOD.with_columns(extra=pl.lit(-1.0)))
    one.require(GOOD)
    assert len(made) == 3  # whenever the columns are others
