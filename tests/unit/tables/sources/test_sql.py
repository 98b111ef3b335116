"""Rows from a real SQLite database; the URL never appears in a message."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, UnavailableError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot, Unreadable
from tasks.tables.sources.rows import conform
from tasks.tables.sources.sql import SqlSource
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


@pytest.mark.usefixtures("database")
def test_a_column_that_the_query_returns_twice_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^source\.query: column store_id is there twice; name the columns"):
        fetch("SELECT a.*, b.store_id FROM sales a JOIN sales b ON a.day = b.day")


@pytest.mark.usefixtures("database")
def test_colons_of_texts_and_comments_are_no_parameters() -> None:
    table = fetch(
        """SELECT day AS date, ' :x ''12:30'' a:b' AS store_id, units -- not :this
        FROM sales /* nor :that */ WHERE day <= :as_of AND ':y' <> "day" """
    ).tables["table"]
    assert table["store_id"].unique().to_list() == [" :x '12:30' a:b"]
    assert table.height == 2


@pytest.mark.usefixtures("database")
def test_a_parameter_in_quotes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^source\.query: ':as_of' is a text; write :as_of without quotes"):
        fetch("SELECT * FROM sales WHERE day <= ':as_of'")


@pytest.mark.usefixtures("database")
def test_a_column_of_nulls_has_the_contract_s_type() -> None:
    table = fetch("SELECT day AS date, store_id, NULL AS units, NULL AS holiday FROM sales").tables["table"]
    assert table.schema["units"].is_float()
    assert str(table.schema["holiday"]) == "Boolean"


@pytest.mark.usefixtures("database")
def test_a_mapped_column_that_the_query_does_not_return_is_refused() -> None:
    snapshot = fetch("SELECT day AS date, store_id, units FROM sales", columns={"units": "sold"})
    assert snapshot.unreadable["table"].startswith("source.columns.units: the table has no column 'sold'; it has: date")


def records(*values: Any) -> Any:
    source = get_source(Spec(kind="sql", url_env="SALES_DB_URL", query="x"), (CONTRACT,), "sales")
    assert isinstance(source, SqlSource)
    return conform(source._table(["units"], [(value,) for value in values]), CONTRACT, {}, untyped=False)["units"]


def test_what_drivers_return_for_numbers_is_numbers() -> None:
    assert records(Decimal("1.50"), None, Decimal(2)).to_list() == [1.5, None, 2.0]
    assert records(1, Decimal("2.25")).to_list() == [1.0, 2.25]
    assert records(1, 2.5, None).to_list() == [1.0, 2.5, None]


@pytest.mark.parametrize("values", [(uuid4(),), (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1))])  # noqa: DTZ001
def test_values_that_no_column_can_hold_are_refused_by_type(values: tuple[Any, ...]) -> None:
    with pytest.raises(Unreadable, match=r"^source\.query: units has values of "):
        records(*values)


@pytest.mark.parametrize("password", ["a:b", "a/b", "a#b", "a?b", "100%", "a%40b"])
def test_passwords_with_special_characters_reach_the_driver(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_DB_URL", f"postgresql://etl:{password}@127.0.0.1:1/shop")
    source = get_source(Spec(kind="sql", url_env="SALES_DB_URL", query="x"), (CONTRACT,), "sales")
    assert isinstance(source, SqlSource)
    url = source._engine().url
    assert (url.drivername, url.password) == ("postgresql+psycopg2", password.replace("%40", "@"))
