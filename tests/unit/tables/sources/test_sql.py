"""Rows from a real SQLite database; the URL never appears in a message."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, UnavailableError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.table import Column, TableContract

CONTRACT = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("store_id", "string", key=True),
        Column("units", "number", nullable=True),
        Column("holiday", "boolean", known_ahead=True),
    ),
    date="date",
    target="units",
    entity=("store_id",),
    horizon=28,
)
QUERY = (
    "SELECT day AS date, store_id, CASE WHEN day <= :as_of THEN units END AS units, holiday "
    "FROM sales WHERE day <= :horizon_end"
)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'sales.db'}"
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("CREATE TABLE sales (day TEXT, store_id TEXT, units REAL, holiday INTEGER)"))
        connection.execute(
            sa.text(
                "INSERT INTO sales VALUES ('2026-03-02', '01', 2.5, 1), ('2026-03-01', '01', 1, 0), "
                "('2026-03-20', '01', 9, 0), ('2026-05-01', '01', 9, 0)"
            )
        )
    monkeypatch.setenv("SALES_DB_URL", url)


def fetch(query: str = QUERY, **options: Any) -> Snapshot:
    spec = Spec(kind="sql", **({"url_env": "SALES_DB_URL", "query": query} | options))
    return get_source(spec, (CONTRACT,), "sales").fetch(date(2026, 3, 2))


@pytest.mark.usefixtures("database")
def test_binds_are_dates_and_the_rows_are_typed_and_sorted() -> None:
    snapshot = fetch()
    assert snapshot.tables["table"].rows() == [
        (date(2026, 3, 1), "01", 1.0, False),
        (date(2026, 3, 2), "01", 2.5, True),
        (date(2026, 3, 20), "01", None, False),
    ]
    assert snapshot.notes == ("SQL query on the sqlite database of SALES_DB_URL",)


@pytest.mark.usefixtures("database")
def test_a_query_without_binds_and_with_other_names() -> None:
    table = fetch("SELECT day, store_id, units FROM sales WHERE day < '2026-03-03'", columns={"date": "day"}).tables[
        "table"
    ]
    assert table.columns == ["date", "store_id", "units"]
    assert table.height == 2


@pytest.mark.usefixtures("database")
def test_a_query_without_rows_keeps_its_columns() -> None:
    assert fetch(QUERY + " AND store_id = 'none'").tables["table"].columns == ["date", "store_id", "units", "holiday"]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("SELECT * FROM absent", r"^source\.query: no such table: absent$"),
        ("SELECT * FROM sales WHERE day < :today", r"^source\.query: .*today"),
    ],
)
def test_a_wrong_query_is_a_configuration_error(query: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as failure:
        fetch(query)
    assert "\n" not in str(failure.value)


def test_the_variable_must_be_set_and_hold_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALES_DB_URL", raising=False)
    with pytest.raises(ConfigError, match=r"^source\.url_env: SALES_DB_URL is not set; export it"):
        fetch()
    monkeypatch.setenv("SALES_DB_URL", "secret")
    with pytest.raises(ConfigError, match=r"^SALES_DB_URL: not an SQLAlchemy URL") as failure:
        fetch()
    assert "secret" not in str(failure.value)


def test_a_database_that_does_not_answer_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_DB_URL", f"sqlite:///{tmp_path}/no/such/folder.db")
    with pytest.raises(UnavailableError, match="database of SALES_DB_URL does not answer: unable to open"):
        fetch()
