"""An installation with workloads whose source is in trouble, shared by all tests here, as Airflow starts slowly."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.local.night import wait_for_dag
from tests.collector import Collector
from tests.e2e.conftest import Installation, Night, running, wait


def hasty(section: dict[str, Any]) -> dict[str, Any]:
    """Networks that are hardly trained, and refused: whoever waits for such a night asks for something else."""
    training = {"epochs": 1, "batch_size": 64, "batches_per_epoch": 1, "learning_rate": 0.005}
    student = {"model": {"kind": "linear"}, "training": training, "alpha": 0.5}
    model = {"kind": "lstm", "hidden": 4, "layers": 1}
    networks = {"teachers": {"lstm": {"model": model, "training": training}}, "students": {"student": student}}
    gates = {**section["gates"], "accuracy": {**section["gates"]["accuracy"], "limit": 0.0001}}
    return {**section, **networks, "recipes": {"fp32": {}}, "gates": gates}


class Storage(ThreadingHTTPServer):
    """An object store in trouble: bucket `silent` never answers, others say that they cannot now."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), StorageHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def stop(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class StorageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Storage)
        if self.path.startswith("/silent"):
            self.server.over.wait()
        else:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


class Troubled(Installation):
    """With more workloads: two whose source is an object store in trouble, two whose file is late; and a collector."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        # `silent` is never late: its nights are backfilled, which Airflow may undo at once, and Airflow 3.3's scheduler
        # ends when a run that it is about to call late is deleted.
        for name, minutes in (("absent", 1), ("silent", 100_000)):
            source = {"kind": "table", "path": f"s3://{name}/table.parquet"}
            more = {"source": source, "deadline_minutes": minutes}
            self.project.params["workloads"][name] = {**self.project.sales, **more}
        for name, patience in (("belated", 60), ("missing", 0.3)):
            waits = {"wait_minutes": patience, "poll_minutes": 0.25}
            table = {"kind": "table", "path": f"{name}.parquet", "until_as_of": True, **waits}
            more = {"source": table, "deadline_minutes": 100_000}
            self.project.params["workloads"][name] = hasty({**self.project.sales, **more})
        # Once a week, the last time three days ago: that night can be backfilled, and is the newest that is due, as
        # Airflow 3.3 would go on from an older one with a scheduled one.
        self.due = self.yesterday - timedelta(days=2)
        minute, hour, *_ = str(self.project.sales["schedule"]).split()
        self.project.sales["schedule"] = f"{minute} {hour} * * {self.due.isoweekday() % 7}"
        self.project.save()
        self.storage, self.collector = Storage(), Collector()
        self.environment |= self.storage.settings
        self.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = self.collector.url

    def down(self) -> None:
        self.storage.stop()
        super().down()
        self.collector.stop()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Airflow that runs, for a project whose first night is still to come."""
    with running(Troubled(tmp_path_factory.mktemp("e2e") / "project")) as installation:
        yield installation


@pytest.fixture(scope="session")
def absent(installation: Installation) -> str:
    """A run whose source does not answer, which takes its time beside all others: its run_id."""
    wait_for_dag(installation.airflow, "nightly_absent", datetime.min.replace(tzinfo=UTC))
    asked = {"dag_run_id": "absent", "logical_date": datetime.now(UTC).isoformat()}
    installation.airflow.api("POST", "/dags/nightly_absent/dagRuns", asked)
    return "absent"


@pytest.fixture(scope="session")
def unpunctual(installation: Installation, absent: str) -> tuple[str, str]:
    """Workloads whose file is not there, and whose runs of that name take their time beside all others."""
    for name in ("belated", "missing"):
        asked = {"dag_run_id": name, "logical_date": datetime.now(UTC).isoformat()}
        installation.airflow.api("POST", f"/dags/nightly_{name}/dagRuns", asked)
    return "belated", "missing"


@pytest.fixture(scope="session")
def first(installation: Installation, absent: str, unpunctual: tuple[str, str]) -> Night:
    """The first night, over the data up to yesterday, after which its consumer scores."""
    night = installation.night()
    assert (night.code, night.outcome["outcome"]) == (0, "promoted"), night.output
    wait("the scoring run", partial(installation.over, "score_sales"))
    # What comes of forecasts is looked at in the tests of the nights that go well.
    wait("the watch", partial(installation.over, "watch_sales"))
    installation.airflow.api("PATCH", "/dags/watch_sales?update_mask=is_paused", {"is_paused": True})
    return night
