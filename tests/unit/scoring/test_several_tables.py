"""A kind of learning with two tables: both are checked and fed by name, and parts split the first one alone."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.errors import DataError, RuleError, UsageError
from tasks.problems.base import FeatureContract, Predict
from tasks.scoring import tables as scoring
from tasks.scoring.tables import TableScorer
from tasks.tables.sources.files import read_files
from tasks.tables.table import Column, TableContract, Tables

DAY = date(2026, 1, 1)
SALES = TableContract(
    (Column("item", "string", key=True), Column("pieces", "number")), None, None, ("item",), name="sales"
)
ITEMS = TableContract(
    (Column("item", "string", key=True), Column("price", "number", low=0)), None, None, ("item",), name="items"
)
TABLES = {
    "items": pl.DataFrame({"item": ["a", "b"], "price": [2.0, 3.0]}),
    "sales": pl.DataFrame({"item": ["b", "a"], "pieces": [5.0, 7.0]}),
}


class Revenue:
    """Pieces times price."""

    def tables(self) -> tuple[TableContract, ...]:
        return SALES, ITEMS

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        joined = tables["sales"].join(tables["items"], on="item").sort("item").collect()
        return joined.select("item", revenue=pl.col("pieces") * pl.col("price"))


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> TableScorer:
    monkeypatch.setattr(scoring, "get_problem", lambda spec: Revenue())
    contract: dict[str, Any] = {
        "problem": "revenue", "inputs": {}, "order": [], "output_shape": [1], "categories": {}, "statistics": {},
        "settings": {},
    }  # fmt: skip
    return TableScorer(json.dumps({"problem": {"kind": "revenue"}, "checks": {}}), contract, "run.yaml")


def test_both_tables_are_fed_by_name(scorer: TableScorer) -> None:
    model: Any = None
    found = scorer.predict(scorer.check(TABLES), DAY, model)
    assert found.rows() == [("a", 14.0), ("b", 15.0)]


def test_a_rule_that_the_second_table_breaks_names_it(scorer: TableScorer) -> None:
    spoilt = TABLES["items"].with_columns(price=pl.Series([2.0, -3.0]))
    with pytest.raises(
        RuleError, match=r"^items: price: >= 0: broken by 1 rows, e\.g\. row 1: item=b, price=-3\.0$"
    ) as told:
        scorer.check({**TABLES, "items": spoilt})
    assert (told.value.column, told.value.rule, told.value.row) == ("items.price", ">= 0", 1)
    with pytest.raises(DataError, match=r"^items: this table is missing"):
        scorer.check({"sales": TABLES["sales"]})


def test_files_of_a_command_line_are_tables_by_name(tmp_path: Path) -> None:
    TABLES["sales"].write_parquet(tmp_path / "s=1.parquet")
    TABLES["items"].write_csv(tmp_path / "i.csv")
    found = read_files([str(tmp_path / "s=1.parquet"), f"items={tmp_path}/i.csv"], (SALES, ITEMS))
    assert {name: table.collect().sort("item").height for name, table in found.items()} == {"sales": 2, "items": 2}
    assert found["items"].collect().equals(TABLES["items"])
    with pytest.raises(UsageError, match=r"sales is named twice; write NAME=FILE, one of sales, items"):
        read_files([f"sales={tmp_path}/s=1.parquet", str(tmp_path / "s=1.parquet")], (SALES, ITEMS))
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_files([f"items={tmp_path}/none.csv"], (SALES, ITEMS))
