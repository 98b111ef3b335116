"""A production-like installation: PostgreSQL, MLflow server, S3, Airflow's four processes, stages as containers."""

import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.local.images import reference
from tasks.core.settings import Settings
from tests.conftest import LAST_DAY, Project, sales_table
from tests.e2e.conftest import Installation, Night, quick, running, wait
from tests.e2e.containers.machine import Containers, Line, Postgres, docker, require
from tests.ports import free_port

S3_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker Engine that has the images of `make images`."""
    require("Docker Engine (DOCKER_HOST)", there=docker("info", check=False).returncode == 0)
    found = docker("image", "inspect", reference("task"), reference("airflow"), check=False)
    require("image of the stages; run `make images`", there=found.returncode == 0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    require("PostgreSQL (initdb, pg_ctl)", there=bool(shutil.which("initdb") and shutil.which("pg_ctl")))
    server = Postgres()
    yield server
    server.stop()


def stores(bucket: str, tracking_uri: str) -> dict[str, str]:
    """The settings by which hosts share nothing but S3 and MLflow."""
    return {
        "run_store": f"s3://{bucket}/runs",
        "release_store": f"s3://{bucket}/releases",
        "dvc_remote": f"s3://{bucket}/data",
        "forecasts": f"s3://{bucket}/forecasts",
        "tracking_uri": tracking_uri,
    }


def s3_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in S3_VARIABLES}


def upload(bucket: str, table: pl.DataFrame) -> str:
    """Put the source's table where every host can read it; returns its address."""
    import boto3

    content = BytesIO()
    table.write_parquet(content)
    boto3.client("s3").put_object(Bucket=bucket, Key="source/sales.parquet", Body=content.getvalue())
    return f"s3://{bucket}/source/sales.parquet"


def image_of(project: Project, tag: str) -> str:
    """The stages' image with this project's parameters in the place of the repository's."""
    (project.root / "Dockerfile").write_text(f"FROM {reference('task')}\nCOPY params.yaml /app/params.yaml\n")
    (project.root / ".dockerignore").write_text("*\n!params.yaml\n")
    docker("build", "--tag", tag, str(project.root), env={**os.environ, "DOCKER_BUILDKIT": "1"})
    return tag


class Stack(Installation):
    """The topology of docker/compose.yaml, with servers as processes of this machine and stages as containers."""

    def __init__(self, root: Path, bucket: str, postgres: Postgres) -> None:
        port = free_port()
        super().__init__(root, **stores(bucket, f"http://127.0.0.1:{port}"))
        self.bucket, self.postgres = bucket, postgres
        self.project.sales["source"]["path"] = f"s3://{bucket}/source/sales.parquet"
        starved = {**self.project.sales, "resources": {"snapshot": {"memory": "96Mi"}}}
        self.project.params["workloads"]["starved"] = starved
        self.project.save()
        self.image = image_of(self.project, f"nightstill-test:{bucket}")
        self.line = Line(os.environ["AWS_ENDPOINT_URL"])
        self.planted = f"planted-{secrets.token_hex(12)}"
        self.seen: list[dict[str, Any]] = []
        self.first_bytes = 0
        self.environment |= {
            **s3_environment(),
            "AWS_ENDPOINT_URL": self.line.url,
            "NIGHTSTILL_STAGE_VARIABLES": "WAREHOUSE_PASSWORD",
            "WAREHOUSE_PASSWORD": self.planted,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url("airflow"),
            "MLFLOW_BACKEND_STORE_URI": postgres.url("mlflow"),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket}/mlflow",
            "NIGHTSTILL_MLFLOW_PORT": str(port),
            "NIGHTSTILL_RUNNER": "docker",
            "NIGHTSTILL_TASK_IMAGE": self.image,
            "NIGHTSTILL_DOCKER_NETWORK": "host",
        }

    def table(self, spoil: Any = lambda table: table) -> None:
        super().table(spoil)
        if hasattr(self, "bucket"):
            upload(self.bucket, pl.read_parquet(self.project.root / "sales.parquet"))

    def up(self) -> None:
        self.table()
        super().up()

    def down(self) -> None:
        super().down()
        self.line.close()
        docker("rmi", "--force", self.image)

    def watch(self, over: threading.Event) -> None:
        """Remember how each container of a stage looks while it runs."""
        known: set[str] = set()
        while not over.wait(0.2):  # a plan runs for about a second
            found = docker("ps", "--quiet", "--filter", "label=io.nightstill.stage").stdout.split()
            for name in set(found) - known:
                inspected = docker("inspect", name, check=False)
                if inspected.returncode == 0:
                    known.add(name)
                    self.seen += json.loads(inspected.stdout)

    def secrets(self) -> list[str]:
        """All that nobody may read in what stays behind."""
        return [self.planted, self.postgres.password, os.environ["AWS_SECRET_ACCESS_KEY"]]

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """What Airflow shows of a task's attempts."""
        folder = self.home / "airflow" / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "\n".join(path.read_text() for path in sorted(folder.glob("attempt=*.log")))

    def task_of(self, dag_id: str, run_id: str, task_id: str) -> tuple[str, str]:
        """Start a run of a DAG; once one of its tasks has ended: its state and its log."""
        self.airflow.api("POST", f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None})

        def ended() -> str | None:
            state: str | None = self.airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")[
                "state"
            ]
            return state if state in ("success", "failed", "upstream_failed", "up_for_retry") else None

        return wait(f"{dag_id}.{task_id}", ended), self.log(dag_id, run_id, task_id)


@pytest.fixture(scope="session")
def session_bucket(engine: None) -> Iterator[str]:
    from tests.conftest import new_bucket, remove_bucket

    name = new_bucket()
    yield name
    remove_bucket(name)


@pytest.fixture(scope="session")
def stack(
    engine: None, session_bucket: str, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """It runs; its first night is still to come."""
    with running(Stack(tmp_path_factory.mktemp("stack") / "project", session_bucket, postgres)) as stack:
        yield stack


@pytest.fixture(scope="session")
def first(stack: Stack) -> Night:
    """The first night, in containers that are looked at meanwhile."""
    over = threading.Event()
    watching = threading.Thread(target=stack.watch, args=[over])
    watching.start()
    night = stack.night()
    over.set()
    watching.join()
    stack.first_bytes = stack.line.up + stack.line.down
    return night


class Host:
    """A small project in containers without Airflow: its stores in a bucket of its own, MLflow nowhere."""

    def __init__(self, root: Path, bucket: str) -> None:
        root.mkdir()
        self.bucket = bucket
        self.project = Project(root)
        quick(self.project.sales)
        self.project.sales["source"]["path"] = upload(bucket, sales_table(LAST_DAY))
        self.project.save()
        self.image = image_of(self.project, f"nightstill-test:{bucket}")
        self.settings = Settings.model_validate({"home": root / "home", "project": root, **stores(bucket, "")})
        told = self.settings.environment()
        names = ("NIGHTSTILL_RUN_STORE", "NIGHTSTILL_RELEASE_STORE", "NIGHTSTILL_DVC_REMOTE")
        self.containers = Containers(self.image, {**{name: told[name] for name in names}, **s3_environment()})
