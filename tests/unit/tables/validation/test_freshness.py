"""Whether data have come: only what waiting can mend is waited for."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.table import Column, TableContract
from tasks.tables.validation.freshness import missing
from tasks.tables.validation.options import Checks

AS_OF = date(2026, 6, 30)
CONTRACT = TableContract(
    columns=(Column("day", "date", key=True), Column("shop", "string", key=True), Column("units", "number")),
    date="day",
    target="units",
    entity=("shop",),
)
STORES = TableContract(columns=(Column("shop", "string", key=True),), date=None, target=None, entity=(), name="shops")


def table(last: date = AS_OF, **columns: Any) -> pl.DataFrame:
    days = [last - timedelta(days=offset) for offset in (2, 1, 0)]
    return pl.DataFrame({"day": days, "shop": "a", "units": [1.0, 2.0, 3.0]}).with_columns(**columns)


def said(found: Any, contracts: tuple[TableContract, ...] = (CONTRACT,), **checks: Any) -> str:
    snapshot = found if isinstance(found, Snapshot) else Snapshot({"table": found})
    return missing(snapshot, contracts, Checks(**checks), AS_OF)


def test_rows_up_to_the_day_are_fresh_and_older_ones_are_not() -> None:
    assert said(table()) == ""
    assert said(table(AS_OF + timedelta(days=2))) == ""
    stale = table(AS_OF - timedelta(days=1))
    rule = "day: days without data before as_of 2026-06-30: 1 (expected <= 0), the last is of 2026-06-29"
    assert said(stale) == rule
    assert said(stale, max_stale_days=1) == ""


def test_rows_whose_values_are_still_to_come_are_not_there() -> None:
    empty = table(units=pl.when(pl.col("day") < AS_OF).then(pl.col("units")))
    assert "1 (expected <= 0)" in said(empty)
    assert said(table().clear()).startswith("day: rows up to as_of 2026-06-30: 0 (expected >= 1)")


@pytest.mark.parametrize(
    "bad",
    [
        table(AS_OF - timedelta(days=1)).drop("day"),
        table(AS_OF - timedelta(days=1), day=pl.lit("yesterday")),
        table(units=pl.lit(-1.0)),
        table(units=pl.lit(None, pl.Float64), day=pl.lit(None, pl.Date)).clear().select("shop"),
    ],
    ids=["no days", "days that are none", "negative", "other columns"],
)
def test_what_waiting_does_not_mend_is_left_to_validation(bad: pl.DataFrame) -> None:
    assert said(bad) == ""


def test_of_several_tables_the_one_that_is_late_is_named() -> None:
    shops = pl.DataFrame({"shop": ["a"]})
    assert said(Snapshot({"table": table(), "shops": shops}), (CONTRACT, STORES)) == ""
    late = Snapshot({"table": table(AS_OF - timedelta(days=3)), "shops": shops})
    assert said(late, (CONTRACT, STORES)).startswith("table: day: days without data before as_of 2026-06-30: 3 ")


def test_a_file_that_is_not_there_yet_can_still_come_and_one_that_is_broken_cannot(tmp_path: Path) -> None:
    source = get_source(Spec(kind="table", path="sales.csv"), (CONTRACT,), "sales", tmp_path)
    path = tmp_path / "sales.csv"
    assert said(source.fetch(AS_OF)) == "sales.csv: no such file"
    path.touch()
    assert "the file is empty (0 bytes)" in said(source.fetch(AS_OF))
    path.write_bytes(b'day,shop,units\n2026-06-30,"a,1\n')
    broken = source.fetch(AS_OF)
    assert broken.unreadable and said(broken) == ""
    path.write_text("day,shop,units\n2026-06-30,a,1\n")
    assert said(source.fetch(AS_OF)) == ""


def test_a_file_among_several_sources_can_still_come_too(tmp_path: Path) -> None:
    tables = {"table": {"kind": "table", "path": "sales.csv"}, "shops": {"kind": "table", "path": "shops.csv"}}
    (tmp_path / "shops.csv").write_text("shop\na\n")
    source = get_source(Spec(kind="tables", tables=tables), (CONTRACT, STORES), "sales", tmp_path)
    assert said(source.fetch(AS_OF), (CONTRACT, STORES)) == "table: sales.csv: no such file"
