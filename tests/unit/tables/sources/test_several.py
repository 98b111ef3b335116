"""Several tables of one workload, each from a source of its own."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.tables.facts import facts_of, table_facts_of
from tasks.tables.sources import get_source
from tasks.tables.sources.about import describe
from tasks.tables.table import Column, TableContract, known

EVENTS = TableContract(
    (Column("day", "date", key=True), Column("user", "string", key=True), Column("item", "string")),
    "day",
    None,
    ("user",),
    name="events",
)
ITEMS = TableContract(
    (Column("item", "string", key=True), Column("price", "number")), None, None, ("item",), name="items"
)
USERS = TableContract((Column("user", "string", key=True),), None, None, ("user",), name="users", required=False)
TABLES = (EVENTS, ITEMS, USERS)
GIVEN = {"events": {"kind": "table", "path": "e.csv"}, "items": {"kind": "table", "path": "i.csv"}}
AS_OF = date(2026, 3, 2)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "e.csv").write_text("day,user,item\n2026-03-02,u2,a\n2026-03-01,u1,b\n")
    (tmp_path / "i.csv").write_text("item,price\nb,2\na,1.5\n")
    return tmp_path


def source(folder: Path, tables: dict[str, Any]) -> Any:
    return get_source(Spec(kind="tables", tables=tables), TABLES, "shop", folder)


def test_each_table_comes_from_its_own_source_sorted_by_its_own_keys(files: Path) -> None:
    snapshot = source(files, GIVEN).fetch(AS_OF)
    assert list(snapshot.tables) == ["events", "items"]
    assert snapshot.tables["items"].rows() == [("a", 1.5), ("b", 2.0)]
    assert snapshot.tables["events"]["user"].to_list() == ["u1", "u2"]
    assert snapshot.notes == ("events: 1 file(s): e.csv", "items: 1 file(s): i.csv") and not snapshot.unreadable


def test_a_file_that_cannot_be_read_is_told_by_its_table(files: Path) -> None:
    (files / "i.csv").write_text("")
    snapshot = source(files, GIVEN).fetch(AS_OF)
    assert snapshot.unreadable == {"items": f"{files}/i.csv: the file is empty (0 bytes)"}
    assert len(snapshot.tables["events"]) == 2


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ({"events": GIVEN["events"]}, r"^source\.tables\.items: missing; the workload needs: events, items, users$"),
        (
            {**GIVEN, "orders": GIVEN["items"]},
            r"^source\.tables\.orders: the workload has no such table; it has: events",
        ),
        ({**GIVEN, "items": {"kind": "excel"}}, r"^source\.tables\.items: .*unknown kind 'excel'"),
        ({**GIVEN, "items": {"kind": "table", "path": "i.xls"}}, r"^source\.tables\.items: source\.path: "),
    ],
)
def test_a_wrong_section_names_the_table(files: Path, tables: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as failure:
        source(files, tables)
    assert "\n" not in str(failure.value)


def test_a_source_of_one_table_is_refused_where_there_are_several(files: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"table gives one table, and the workload has events, items, users; take kind tables,"
    ):
        get_source(Spec(kind="table", path="e.csv"), TABLES, "shop", files)


def test_what_the_tables_are_like_stands_under_their_names(files: Path) -> None:
    contracts = {table.name: table for table in TABLES}
    about = describe(source(files, GIVEN).fetch(AS_OF), contracts, {"events": "d1", "items": "d2"}, "tables", AS_OF)
    assert facts_of(about, "items") == {
        "rows": 2,
        "entities": 2,
        "first_date": None,
        "last_date": None,
        "mean_target": None,
        "sha256": "d2",
    }
    assert about["tables"]["events"]["last_date"] == "2026-03-02" and facts_of(about, "users") is None


def test_a_release_of_before_names_tells_of_its_one_table() -> None:
    before = {"rows": 7, "entities": 2, "first_date": "2026-01-01", "last_date": "2026-01-09", "source": "table"}
    assert facts_of(before, "series") == {name: before[name] for name in before if name != "source"}
    assert list(table_facts_of(before)) == [""] and table_facts_of({}) == {}


def test_tables_that_are_missing_or_unknown_are_named() -> None:
    frames: dict[str, Any] = {"items": 1, "events": 2}
    assert list(known(frames, TABLES)) == ["events", "items"]
    with pytest.raises(DataError, match=r"^items: this table is missing; the workload has it, and given are: events$"):
        known({"events": frames["events"]}, TABLES)
    with pytest.raises(DataError, match=r"^orders: the workload has no such table; it has: events, items, users$"):
        known({**frames, "orders": 3}, TABLES)
