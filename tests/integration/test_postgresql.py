"""A real PostgreSQL server: as a source of rows and as MLflow's database, by the plain URL that everybody writes."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from tasks.core.config import Spec
from tasks.core.errors import UnavailableError
from tasks.core.settings import Settings
from tasks.tables.sources import get_source
from tasks.tables.table import Column, TableContract
from tasks.tracking.runs import Tracking, connected, find_run, log_run
from tests import planted
from tests.conftest import LAST_DAY, Project, small_customers
from tests.e2e.containers.machine import Postgres
from tests.in_process import whole_night

pytestmark = pytest.mark.skipif(not (shutil.which("initdb") and shutil.which("pg_ctl")), reason="needs PostgreSQL")
CONTRACT = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("store_id", "string", key=True),
        Column("units", "number", nullable=True),
    ),
    date="date",
    target="units",
    entity=("store_id",),
    horizon=28,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    found = Postgres()
    yield found
    found.stop()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_rows_of_a_query(scheme: str, server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    with sa.create_engine(server.url("airflow")).begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS sales"))
        connection.execute(sa.text("CREATE TABLE sales (day DATE, store_id TEXT, units DOUBLE PRECISION)"))
        connection.execute(sa.text("INSERT INTO sales VALUES ('2026-03-01', '01', 1), ('2026-03-02', '01', 2.5)"))
    monkeypatch.setenv("SALES_DB_URL", server.url("airflow", scheme))
    query = "SELECT day AS date, store_id, units FROM sales"
    source = get_source(
        Spec.model_validate({"kind": "sql", "url_env": "SALES_DB_URL", "query": query}), (CONTRACT,), "x"
    )
    found = source.fetch(date(2026, 3, 2))
    assert found.tables["table"]["units"].to_list() == [1.0, 2.5]
    assert found.notes == ("SQL query on the postgresql database of SALES_DB_URL",)
    monkeypatch.setenv("SALES_DB_URL", server.url("airflow", scheme).replace(server.password, "Wr0ng"))
    with pytest.raises(UnavailableError, match=r"SALES_DB_URL does not answer: .*authentication failed") as caught:
        source.fetch(date(2026, 3, 2))
    assert "Wr0ng" not in str(caught.value)


def test_a_whole_night_with_its_rows_and_its_runs_there(
    server: Postgres, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come by one database, and MLflow keeps runs and registry in another, without a server of its own."""
    section = small_customers(project.root)
    purchases = project.root / "customers.parquet"
    rows = pl.read_parquet(purchases).rows()
    purchases.unlink()
    with sa.create_engine(server.url("airflow")).begin() as connection:
        connection.execute(sa.text("CREATE TABLE purchases (day DATE, customer TEXT, paid NUMERIC, pieces INTEGER)"))
        connection.execute(sa.text("INSERT INTO purchases VALUES (:day, :customer, :paid, :pieces)"), [
            dict(zip(("day", "customer", "paid", "pieces"), row, strict=True)) for row in rows
        ])  # fmt: skip
    query = "SELECT day, customer, paid, pieces FROM purchases WHERE day <= :as_of"
    section["source"] = {"kind": "sql", "url_env": "SHOP_DB_URL", "query": query}
    project.params["workloads"] = {"customers": section}
    project.save()
    monkeypatch.setenv("SHOP_DB_URL", server.url("airflow", "postgresql"))
    monkeypatch.setenv("NIGHTSTILL_TRACKING_URI", server.url("mlflow", "postgresql"))
    settings = Settings(home=tmp_path / "home", project=project.root)
    verdict = whole_night(project.root, settings, section, "customers", LAST_DAY, monkeypatch)
    assert verdict["verdict"] in ("promote", "reject")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(project.root)  # as a stage's folder vanishes with all that is in it
    with connected(settings.tracking_uri) as client:
        logged = find_run(client, "nightstill-customers", "r1")
        assert logged is not None and logged.data.tags["outcome"] in ("promoted", "rejected")
        assert logged.data.metrics["student/log_loss"] > 0
        assert {"report.html", "run.yaml"} <= {found.path for found in client.list_artifacts(logged.info.run_id)}
    assert (tmp_path / "home" / "mlflow" / "artifacts").is_dir()
    left = planted.files(tmp_path)
    assert left and not [name for name, content in left.items() if server.password.encode() in content]


def test_mlflow_keeps_its_runs_there(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = server.url("mlflow", "postgresql")
    tracking = Tracking(url, str(tmp_path / "files"))
    mlflow_id = log_run(
        tracking, "nightstill-x", "r1", {"seed": 7}, {"error": 0.5}, {"loss": [2.0, 1.0]}, {}, {"a": "b"}
    )
    with connected(url) as client:
        assert client.get_run(mlflow_id).data.metrics["error"] == 0.5
        assert client.get_run(mlflow_id).info.artifact_uri.startswith((tmp_path / "files").as_uri())
