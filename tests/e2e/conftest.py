"""An installation of its own with real Airflow, shared by all tests here, as Airflow starts slowly."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from dags.project import safe_run_id
from infra.local.night import Airflow
from tasks.core.settings import Settings
from tasks.pipeline.handover.queries import read_outcome
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.ledger import Ledger
from tests.conftest import LAST_DAY, PROJECT, Project
from tests.ports import free_port

TIMEZONE = ZoneInfo("Europe/Berlin")
T = TypeVar("T")
ENVIRONMENTS = Path(sys.prefix).parent
# A night here takes less than a minute; a machine that is busy with other things gets its chance.
PATIENCE_SECONDS = 900


def quick(section: dict[str, Any]) -> dict[str, Any]:
    """One small teacher, and networks just good enough to beat the naive forecast."""
    section["source"]["until_as_of"] = True
    training = {"epochs": 1, "batch_size": 64, "batches_per_epoch": 20, "learning_rate": 0.005, "patience": 1}
    section["teachers"] = {"lstm": {"model": {"kind": "lstm", "hidden": 8, "layers": 1}, "training": training}}
    for student in section["students"].values():
        student["model"] = {"kind": "linear-mlp", "hidden": 16}
        student["training"] = {**training, "epochs": 4, "batches_per_epoch": 40, "patience": 4}
    section["recipes"] = {"fp32": {}, "fp16": {"steps": [{"kind": "fp16"}]}}
    section["gates"]["accuracy"].update(retention=2.0, champion_margin=0.2)
    section["timezone"] = str(TIMEZONE)
    # Far from now, so that the schedule itself starts nothing while the tests run; not at midnight, for one day's sake.
    section["schedule"] = f"0 {max(3, (datetime.now(TIMEZONE).hour + 12) % 24)} * * *"
    return section


class Night:
    """One run of the DAG that has ended: what `make run` printed, and what Airflow and the run store know of it.

    `airflow_run_id`: as Airflow has it; `run_id`: as the run store and all messages have it.
    """

    def __init__(self, installation: "Installation", run_id: str, code: int, output: str) -> None:
        self.installation, self.airflow_run_id, self.code, self.output = installation, run_id, code, output
        self.run_id = safe_run_id(run_id)
        self.manifests = installation.store.manifests("sales", self.run_id)
        run = f"/dags/nightly_sales/dagRuns/{quote(run_id)}"
        self.state: str = installation.airflow.api("GET", run)["state"]
        found = installation.airflow.api("GET", f"{run}/taskInstances")["task_instances"]
        self.tasks: dict[str, dict[str, Any]] = {task["task_id"]: task for task in found}

    @property
    def states(self) -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks.items()}

    @property
    def statuses(self) -> dict[str, str]:
        return {name: manifest.status for name, manifest in self.manifests.items()}

    @property
    def outcome(self) -> dict[str, Any]:
        found = read_outcome(self.installation.settings, "sales", self.run_id)
        assert found is not None, self.output
        return found

    @property
    def scored_before(self) -> bool:
        """Whether it found the forecasts made that release 1, and not its candidate, makes of its data."""
        forecasts = self.forecasts()
        return (forecasts["status"], forecasts["release"]) == ("finished-before", 1)

    def forecasts(self) -> dict[str, Any]:
        """The manifest of the forecasts that this night made, or found made; its file is what it says."""
        result = self.xcom("score")
        path = Path(result["uri"])
        told: dict[str, Any] = json.loads(path.read_text())
        assert hashlib.sha256(path.read_bytes()).hexdigest() == result["sha256"]
        content = path.with_suffix(".parquet")
        assert hashlib.sha256(content.read_bytes()).hexdigest() == told["sha256"]
        assert path == self.installation.home / "forecasts" / "sales" / told["as_of"] / f"{told['release']}.json"
        return {**told, "status": result["status"], "table": pl.read_parquet(content)}

    def xcom(self, task_id: str) -> dict[str, Any]:
        run = f"/dags/nightly_sales/dagRuns/{quote(self.airflow_run_id)}"
        path = f"{run}/taskInstances/{task_id}/xcomEntries/return_value"
        found: dict[str, Any] = self.installation.airflow.api("GET", f"{path}?deserialize=true")["value"]
        return found


class Installation:
    """A small project, its state, and the Airflow that `make up` starts for it."""

    def __init__(self, root: Path, **stores: str) -> None:
        root.mkdir()
        self.project = Project(root)
        quick(self.project.sales)
        self.project.save()
        self.yesterday = datetime.now(TIMEZONE).date() - timedelta(days=1)
        self.table()
        self.home = self.project.home
        self.home.mkdir()
        (self.home / "envs").symlink_to(ENVIRONMENTS)
        self.settings = Settings.model_validate({"home": self.home, "project": root, **stores})
        self.store = RunStore(self.settings.runs())
        self.environment = environment(self.settings)
        # Two that start at one moment would both take the default, and one would talk to the other's.
        ports = ("NIGHTSTILL_AIRFLOW_PORT", "NIGHTSTILL_MLFLOW_PORT")
        self.environment |= {name: str(free_port()) for name in ports}
        self.airflow: Any = None

    def table(self, spoil: Any = lambda table: table) -> None:
        """Write the source's table, with data up to yesterday."""
        shift = self.yesterday - LAST_DAY
        self.project.table(LAST_DAY, lambda table: spoil(table.with_columns(pl.col("date") + shift)))

    @contextmanager
    def changed(self, section: dict[str, Any], key: str, value: Any) -> Iterator[None]:
        """The project's parameters with another value in one of their sections."""
        before = section[key]
        section[key] = value
        self.project.save()
        try:
            yield
        finally:
            section[key] = before
            self.project.save()

    def local(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the commands that the Makefile runs."""
        command = [sys.executable, "-m", f"infra.local.{module}", *arguments]
        return subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)

    def nightstill(self, *arguments: str) -> tuple[int, str]:
        """What an operator types: the program's exit code and all that it said."""
        command = [sys.executable, "-m", "tasks", *arguments]
        root = self.project.root
        done = subprocess.run(command, cwd=root, env=self.environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def up(self) -> None:
        done = self.local("services", "up")
        assert done.returncode == 0, done.stdout + done.stderr
        address = json.loads((self.home / "run" / "api-server.json").read_text())["url"]
        self.airflow = Airflow(address)

    def down(self) -> None:
        assert self.local("services", "down").returncode == 0

    def night(self, *arguments: str) -> Night:
        """`make run`."""
        done = self.local("night", "sales", *arguments)
        output = done.stdout + done.stderr
        started = [line.split()[1] for line in output.splitlines() if line.startswith("run make-run-")]
        assert started, output
        return Night(self, started[0], done.returncode, output)

    def releases(self) -> list[int]:
        return [entry.release for entry in Ledger(self.settings.releases(), "sales").entries()]

    def notifications(self, run_id: str) -> list[dict[str, str]]:
        """What a run made operations hear of; that an earlier one's trouble is over with it is not its own."""
        path = self.home / "notifications.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        return [line for line in lines if line["run_id"] == run_id and line["event"] != "recovered"]

    def asset_events(self) -> list[dict[str, Any]]:
        found = self.airflow.api("GET", "/assets/events?name_pattern=nightstill://releases/sales")["asset_events"]
        return [event for event in found if event["uri"] == "nightstill://releases/sales"]

    def ended(self, run_id: str) -> Night | None:
        """The night as it is once it has ended."""
        night = Night(self, run_id, 0, "")
        return night if night.state in ("success", "failed") else None

    def kept(self, workload: str = "sales") -> list[str]:
        """Forecasts that are kept, as `<as_of>/<file>`."""
        folder = self.home / "forecasts" / workload
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """A task as Airflow has it now."""
        found: dict[str, Any] = self.airflow.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        return found

    def stop(self, dag_id: str, run_id: str) -> None:
        """What an operator does who marks a run as failed."""
        place = f"/dags/{dag_id}/dagRuns/{quote(run_id)}?update_mask=state"
        self.airflow.api("PATCH", place, {"state": "failed"})

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The DAG's runs as Airflow has them, in the order of their logical dates."""
        answer = self.airflow.api("GET", f"/dags/{dag_id}/dagRuns?order_by=logical_date")
        found: list[dict[str, Any]] = answer["dag_runs"]
        return found

    def over(self, dag_id: str, count: int = 1) -> list[dict[str, Any]]:
        """The runs of a DAG that have ended, once there are so many."""
        found = [run for run in self.runs(dag_id) if run["end_date"]]
        return found if len(found) >= count else []


def wait(what: str, condition: Callable[[], T | None]) -> T:
    """What `condition` finds, once it finds something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {PATIENCE_SECONDS} s")


def environment(settings: Settings) -> dict[str, str]:
    """For commands of this installation and no other."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("NIGHTSTILL_", "AIRFLOW_", "AWS_", "OTEL_", "OPENLINEAGE"))
    }
    return {
        **ours,
        **settings.environment(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    }


class Repro:
    """`make repro` for a copy of the project, without Airflow, beside the first night."""

    def __init__(self, installation: Installation, root: Path) -> None:
        root.mkdir()
        self.root = root
        project = Project(root)
        project.params = installation.project.params
        project.save()
        (root / "sales.parquet").write_bytes((installation.project.root / "sales.parquet").read_bytes())
        settings = Settings(home=project.home, project=root)
        command = f"python -m tasks select sales --as-of {installation.yesterday} && dvc repro"
        self.log = root / "repro.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, shell=True, cwd=root, env=environment(settings), stdout=log, stderr=log
            )

    def ended(self) -> None:
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.log.read_text()


T_Installation = TypeVar("T_Installation", bound=Installation)


@contextmanager
def running(installation: T_Installation) -> Iterator[T_Installation]:
    """An installation whose services run."""
    try:
        installation.up()
        yield installation
    finally:
        installation.down()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Airflow that runs, for a project whose first night is still to come."""
    with running(Installation(tmp_path_factory.mktemp("e2e") / "project")) as installation:
        yield installation


@pytest.fixture(scope="session")
def repro(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repro]:
    """Started, not awaited: it runs beside the first night."""
    repro = Repro(installation, tmp_path_factory.mktemp("repro") / "project")
    yield repro
    repro.process.kill()
    repro.process.wait()


@pytest.fixture(scope="session")
def first(installation: Installation, repro: Repro) -> Night:
    """The first night, over the data up to yesterday."""
    return installation.night()
