"""Files as they are found: the form of a CSV file that nobody names, and types that mean the contract's."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tasks.tables.sources.csv_file import CsvForm, likely_form, read_text, with_numbers
from tasks.tables.sources.files import scan
from tasks.tables.sources.table import TableSource
from tasks.tables.table import Column, TableContract

CONTRACT = TableContract(
    (Column("date", "date", key=True), Column("shop", "string", key=True), Column("units", "number")),
    "date",
    "units",
    ("shop",),
)


@pytest.mark.parametrize(
    ("text", "encoding", "form", "values"),
    [
        ("a,b\n1.5,x\n", "utf-8", CsvForm(), [1.5]),
        ("a;b\n1,5;x\n", "cp1252", CsvForm(separator=";", decimal=","), [1.5]),
        (
            "a\tb\n1.000,5\tü\n",
            "cp1252",
            CsvForm(separator="\t", decimal=",", thousands=".", encoding="cp1252"),
            [1000.5],
        ),
        ("a|b\n1 000.5|x\n", "utf-16", CsvForm(separator="|", thousands=" ", encoding="utf-16"), [1000.5]),
        ("a,b\n007,x\n", "utf-8", CsvForm(), ["007"]),
        ("a,b\n-,x\n", "utf-8", CsvForm(), ["-"]),
    ],
)
def test_the_form_of_a_file_is_seen(
    tmp_path: Path, text: str, encoding: str, form: CsvForm, values: list[float | str]
) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(text.encode(encoding))
    table, found = with_numbers(
        read_text(str(path), path, likely_form(str(path), path), ()), likely_form(str(path), path)
    )
    assert (found, table["a"].to_list()) == (form, values)


def test_ids_in_numbers_and_flags_are_what_the_contract_wants(tmp_path: Path) -> None:
    table = pl.DataFrame({"date": [date(2026, 1, 1)], "shop": [7], "units": [True]})
    table.write_parquet(tmp_path / "some.parquet")
    by_source = TableSource({"path": "some.parquet"}, CONTRACT, tmp_path).fetch(date(2026, 1, 1)).tables["table"]
    for found in (by_source, scan(tmp_path / "some.parquet", CONTRACT).collect()):
        assert found.row(0) == (date(2026, 1, 1), "7", 1)
        assert found.schema["units"] == pl.Int8()
