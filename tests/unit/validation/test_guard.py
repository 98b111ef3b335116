"""What must not be scored is refused in one line that names column and rule."""

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from tasks.config import Checks
from tasks.errors import DataError
from tasks.problems.base import Column, TableContract
from tasks.validation.guard import require

CONTRACT = TableContract(
    columns=(Column("date", "date", key=True), Column("shop", "string", key=True), Column("units", "number", low=0)),
    date="date",
    target="units",
    entity=("shop",),
)
CHECKS = Checks.model_validate({"max_units": 100})
GOOD = pl.DataFrame({"date": [date(2026, 1, 1), date(2026, 1, 2)], "shop": ["a", "a"], "units": [1.0, 2.0]})


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
            "units: no NaN or infinity: broken by 2 rows, e.g. date=2026-01-01",
        ),
        (lambda t: t.with_columns(units=-pl.col("units")), "units: >= 0: broken by 2 rows, e.g. .*units=-1.0"),
        (lambda t: t.with_columns(units=pl.lit(101.0)), "units: <= 100: broken by 2 rows"),
        (lambda t: pl.concat([t, t.head(1)]), "date.shop: unique date, shop: broken by 2 rows"),
        (lambda t: t.with_columns(shop=pl.lit(None, pl.String)), "shop: not null: broken by 2 rows"),
    ],
)
def test_a_bad_table_is_refused_by_column_and_rule(spoil: Callable[[pl.DataFrame], pl.DataFrame], line: str) -> None:
    with pytest.raises(DataError, match=line) as refused:
        require(spoil(GOOD), CONTRACT, CHECKS)
    assert "\n" not in str(refused.value)
