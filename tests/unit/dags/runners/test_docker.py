"""Stages in containers: what the engine is asked for, and what its answers mean. The engine itself is played here."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.types import HostConfig  # type: ignore[import-not-found]  # mypy takes our folder docker for it

from dags.runners import containers, run_command
from dags.runners.command import Command
from dags.runners.docker import ContainerOperator
from tasks.core.storage import FolderStore
from tasks.pipeline.resources import Limits

CONTEXT: Any = {
    "dag_run": SimpleNamespace(dag_id="nightly_sales", run_id="scheduled__2026-06-30"),
    "ti": SimpleNamespace(task_id="promote"),
}
RESULT = "runs/sales/r1/promote.json"
MANIFEST = {
    "stage": "promote",
    "workload": "sales",
    "run_id": "r1",
    "status": "done",
    "reason": "runs: first time",
    "summary": {"outcome": "promoted"},
}


class Engine:
    """Keeps what it was asked, and gives the answers that it was told to give."""

    def __init__(self) -> None:
        self.code, self.killed = 0, False
        self.lines = [b"snapshot: done\n"]
        self.left: list[str] = []
        self.created: dict[str, Any] = {}
        self.removed: list[str] = []
        self.stopped: list[str] = []

    def images(self, name: str) -> list[str]:
        return [name]

    def create_host_config(self, **options: Any) -> Any:
        return HostConfig(version="1.41", **options)

    def create_container(self, **options: Any) -> dict[str, str]:
        self.created = options
        return {"Id": "c0ffee"}

    def containers(self, *, all: bool, filters: dict[str, str]) -> list[dict[str, str]]:  # noqa: A002 the name of the engine's client
        assert all and filters == {"label": "io.nightstill.command=nightly_sales/scheduled__2026-06-30/promote"}
        return [{"Id": name} for name in self.left]

    def attach(self, **_options: Any) -> Any:
        return iter(self.lines)

    def start(self, identity: str) -> None:
        assert identity == "c0ffee"

    def wait(self, _identity: str) -> dict[str, int]:
        return {"StatusCode": self.code}

    def inspect_container(self, _identity: str) -> dict[str, Any]:
        return {"State": {"OOMKilled": self.killed}}

    def remove_container(self, identity: str, *, force: bool) -> None:
        assert force
        self.removed.append(identity)

    def stop(self, identity: str, timeout: int) -> None:
        self.stopped.append(identity)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """The settings of a shared installation; its run store is a folder here."""
    settings = {
        "NIGHTSTILL_WORKLOADS_FROM": "s3://bucket/workloads",
        "NIGHTSTILL_RUN_STORE": "s3://bucket/runs",
        "NIGHTSTILL_RELEASE_STORE": "s3://bucket/releases",
        "NIGHTSTILL_DVC_REMOTE": "s3://bucket/data",
        "NIGHTSTILL_FORECASTS": "s3://bucket/forecasts",
        "NIGHTSTILL_TRACKING_URI": "http://mlflow:5000",
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    store = FolderStore(tmp_path)
    monkeypatch.setattr(containers, "open_store", lambda uri: store)
    return store


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(DockerOperator, "cli", engine)
    return engine


@pytest.fixture
def run(engine: Engine, store: FolderStore) -> Callable[..., Any]:
    def run(**changes: Any) -> Any:
        command = Command(
            name="sales/promote",
            arguments=("run-stage", "promote", ""),
            result=RESULT,
            limits=Limits(cpus=1.5, memory="2Gi", workspace="512Mi"),
        )
        return ContainerOperator(task_id="promote", command=command, **changes).execute(CONTEXT)

    return run


def test_a_container_has_nothing_but_what_a_stage_needs(
    run: Callable[..., Any], engine: Engine, store: FolderStore
) -> None:
    store.write(RESULT, json.dumps(MANIFEST).encode())
    run()
    host = engine.created["host_config"]
    assert host["ReadonlyRootfs"] is True and host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"] and host["Init"] is True
    assert host["NanoCpus"] == 1_500_000_000 and host["Memory"] == host["MemorySwap"] == 2147483648
    assert host["Tmpfs"] == {"/workspace": "size=536870912,mode=1777"}
    # No folder of the host, no socket of the engine, no rights.
    assert not {"Binds", "Mounts", "Privileged", "CapAdd", "Devices", "VolumesFrom"} & host.keys()
    assert "user" not in engine.created  # that of the image, which is not root
    assert engine.created["command"] == ["run-stage", "promote"]
    told = engine.created["environment"]
    assert told["NIGHTSTILL_RUN_STORE"] == "s3://bucket/runs" and told["AWS_SECRET_ACCESS_KEY"] == "planted-secret"
    assert told["NIGHTSTILL_WORKLOADS_FROM"] == "s3://bucket/workloads"
    assert "NIGHTSTILL_HOME" not in told and "NIGHTSTILL_PROJECT" not in told
    assert engine.removed == ["c0ffee"]


def test_the_result_is_the_manifest_in_the_run_store(run: Callable[..., Any], store: FolderStore) -> None:
    store.write(RESULT, json.dumps(MANIFEST).encode())
    result = run()
    assert (result["uri"], result["status"], result["outcome"]) == (store.url(RESULT), "done", "promoted")
    assert len(result["sha256"]) == 64


def test_an_exit_code_alone_is_no_result(run: Callable[..., Any], store: FolderStore) -> None:
    with pytest.raises(AirflowException, match=r"left nothing at runs/sales/r1/promote\.json") as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)  # worth a retry
    store.write(RESULT, json.dumps({**MANIFEST, "status": "failed", "error": "no model"}).encode())
    with pytest.raises(AirflowException, match="no model"):
        run()


@pytest.mark.parametrize(("code", "said"), [(65, "bad data"), (76, "integrity"), (78, "wrong configuration")])
def test_what_would_fail_again_is_never_retried(run: Callable[..., Any], engine: Engine, code: int, said: str) -> None:
    engine.code, engine.lines = code, [b"error: first\n", b"error: column units is gone\n", b"{}\n"]
    with pytest.raises(AirflowFailException, match=rf"^{said} \(exit code {code}\): column units is gone$"):
        run()
    assert engine.removed == ["c0ffee"]


def test_an_out_of_memory_kill_is_said_in_one_line(run: Callable[..., Any], engine: Engine) -> None:
    engine.code, engine.killed = 137, True
    line = "out of memory: promote was killed at its limit of 2Gi; raise workloads.sales.resources.promote.memory"
    with pytest.raises(AirflowFailException, match=line) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_another_kill_is_worth_a_retry(run: Callable[..., Any], engine: Engine) -> None:
    engine.code = 137
    with pytest.raises(AirflowException, match=r"^killed by SIGKILL: see the log above$") as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)


def test_an_exit_code_that_is_no_signal(run: Callable[..., Any], engine: Engine) -> None:
    engine.code = 255
    with pytest.raises(AirflowException, match=r"^exit code 255: see the log above$"):
        run()


def test_a_container_that_a_dead_worker_left_is_removed_first(
    run: Callable[..., Any], engine: Engine, store: FolderStore
) -> None:
    store.write(RESULT, json.dumps(MANIFEST).encode())
    engine.left = ["dead01"]
    run()
    assert engine.removed == ["dead01", "c0ffee"]


def test_a_task_that_is_killed_takes_its_container_with_it(engine: Engine, store: FolderStore) -> None:
    task = ContainerOperator(task_id="t", command=Command(name="sales/plan", arguments=("plan",)))
    task.on_kill()  # before there is one
    assert (engine.stopped, engine.removed) == ([], [])
    task.container = {"Id": "c0ffee"}
    task.on_kill()
    assert (engine.stopped, engine.removed) == (["c0ffee"], ["c0ffee"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NIGHTSTILL_RUN_STORE", "/srv/runs"),
        ("NIGHTSTILL_DVC_REMOTE", ""),
        ("NIGHTSTILL_RELEASE_STORE", "file:///releases"),
        ("NIGHTSTILL_FORECASTS", "/srv/forecasts"),
        ("NIGHTSTILL_WORKLOADS_FROM", "/srv/workloads"),
        ("NIGHTSTILL_TRACKING_URI", "sqlite:///mlflow.db"),
    ],
)
def test_a_store_that_other_hosts_cannot_reach_is_refused(
    run: Callable[..., Any], engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(
        AirflowFailException, match=rf"^{name}='{value}': stages in containers share no disk; set it to"
    ):
        run()
    assert engine.created == {}


def test_credentials_from_a_connection_of_airflow(
    run: Callable[..., Any], engine: Engine, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(RESULT, json.dumps(MANIFEST).encode())
    settings = containers.ContainerSettings(s3_connection="s3", stage_variables="WAREHOUSE_URL")
    monkeypatch.setattr(containers, "container_settings", lambda: settings)
    extra = json.dumps({"endpoint_url": "http://other:9000", "region_name": "eu-central-1"})
    connection = Connection(conn_id="s3", conn_type="aws", login="its-key", password="its-secret", extra=extra)
    monkeypatch.setattr(Connection, "get", lambda conn_id: connection)
    with pytest.raises(AirflowFailException, match="NIGHTSTILL_STAGE_VARIABLES: WAREHOUSE_URL not set"):
        run()
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://w")
    run()
    told = engine.created["environment"]
    assert (told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"]) == ("its-key", "its-secret")
    assert told["WAREHOUSE_URL"] == "postgresql://w"


def test_a_workloads_own_runner_wins_over_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(name="sales/plan", arguments=("plan",))
    monkeypatch.setenv("NIGHTSTILL_RUNNER", "process")
    assert isinstance(run_command({"runner": "docker"}, command, task_id="t"), ContainerOperator)
    assert type(run_command({}, command, task_id="t")).__name__ == "ProcessOperator"
