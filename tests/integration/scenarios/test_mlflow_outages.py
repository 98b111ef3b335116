"""MLflow as a server that stops, at each step of a night: no release is lost, none is there twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from tasks.core.errors import UnavailableError
from tasks.core.storage import FolderStore
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify
from tasks.tracking.registry import sync
from tasks.tracking.runs import Tracking, connected, experiment_name, log_run
from tests.integration.scenarios.edge import Edge, Handler, serving
from tests.ports import free_port

START_SECONDS = 90
SYNCS = 8
# The requests by which a night tells MLflow of its run and its release, in their order.
STEPS = [
    "/experiments/create",
    "/runs/create",
    "/runs/log-batch",
    "/artifacts/",
    "/runs/update",
    "/registered-models/create",
    "/model-versions/create",
    "/registered-models/alias",
]


class Server:
    """`mlflow server` on SQLite: a process that can be killed and started again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        program = Path(sys.executable).parent / "mlflow"
        command = [str(program), "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(self.port)]
        settings = {
            # Writers wait for one another: SQLite's own 5 s are too few for eight of them on a starved machine.
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.root / 'mlflow.db'}?timeout=25",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self.root / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.root, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError((self.root / "log").read_text())

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Failing(Edge):
    """MLflow goes down at a request whose path holds `at`, before it was done or after, for `times` requests."""

    def __init__(self, address: str) -> None:
        super().__init__(address, FailingHandler)
        self.at, self.done_first, self.times = "", False, 0

    def fail(self, at: str, *, done_first: bool, times: int) -> None:
        self.at, self.done_first, self.times = at, done_first, times

    def up(self) -> None:
        self.at = ""


class FailingHandler(Handler):
    server: Failing

    def treat(self, body: bytes) -> None:
        edge = self.server
        if not edge.at or edge.at not in self.path or edge.times < 1:
            super().treat(body)
            return
        edge.times -= 1
        if edge.times:
            edge.at = "/"  # down for all requests that follow
        if edge.done_first:
            self.ask(self.headers.items(), body)
        edge.done_first = False
        self.hang_up()


class Colliding(Edge):
    """A request whose path holds `at` is refused `times` times; the last time another process had done the same."""

    def __init__(self, address: str) -> None:
        super().__init__(address, CollidingHandler)
        self.at, self.times = "", 0


class CollidingHandler(Handler):
    server: Colliding

    def treat(self, body: bytes) -> None:
        edge = self.server
        if not edge.at or edge.at not in self.path or self.command != "POST" or edge.times < 1:
            super().treat(body)
            return
        edge.times -= 1
        if not edge.times:
            self.ask(self.headers.items(), body)
        refused = {"error_code": "BAD_REQUEST", "message": "(sqlite3.IntegrityError) UNIQUE constraint failed"}
        self.answer(400, [("Content-Type", "application/json")], json.dumps(refused).encode())


class Overtaken(Edge):
    """Before a request whose path holds `at`, a process that began earlier makes its run and deletes the one there."""

    def __init__(self, address: str) -> None:
        super().__init__(address, OvertakenHandler)
        self.at, self.experiment = "", ""


class OvertakenHandler(Handler):
    server: Overtaken

    def treat(self, body: bytes) -> None:
        edge = self.server
        if edge.at and edge.at in self.path:
            edge.at = ""
            with connected(edge.behind.geturl()) as client:
                experiment = client.get_experiment_by_name(edge.experiment)
                assert experiment is not None
                [run] = client.search_runs([experiment.experiment_id])
                client.create_run(experiment.experiment_id, run.info.start_time - 1, run.data.tags)
                client.delete_run(run.info.run_id)
        super().treat(body)


class Elsewhere(FolderStore):
    """MLflow's server refuses models in folders, which it cannot know to be its clients' as well."""

    def url(self, key: str) -> str:
        return f"s3://releases/{key}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    yield found
    found.kill()


@pytest.fixture
def mlflow(server: Server) -> Iterator[Failing]:
    with serving(Failing(server.url)) as edge:
        yield edge


class Night:
    """What a night does once its release is in the ledger, for a workload that no other test knows."""

    def __init__(self, uri: str, releases: ReleaseStore) -> None:
        self.uri, self.releases, self.workload = uri, releases, releases.workload

    def promote(self, number: int) -> None:
        self.releases.publish(
            {"model.onnx": f"model {number}".encode()},
            expected=number - 1,
            run_id=f"run-{number}",
            as_of=date(2026, 1, number),
            reason="better",
        )

    def tell(self, number: int) -> None:
        """As the report stage does."""
        log_run(
            Tracking(self.uri),
            experiment_name(self.workload),
            f"run-{number}",
            params={"seed": number},
            metrics={"wape": 0.25},
            curves={"loss": [2.0, 1.0]},
            artifacts={"report.html": b"<html>"},
            tags={"outcome": "promoted"},
        )
        sync(self.uri, self.releases, self.workload)

    def check(self, *numbers: int, linked: bool = True) -> None:
        """Every run and every release is there once, and nothing is left to mend."""
        assert sync(self.uri, self.releases, self.workload) == []
        name = experiment_name(self.workload)
        with connected(self.uri) as client:
            versions = client.search_model_versions(f"name = '{name}'")
            assert sorted(version.tags["release"] for version in versions) == [str(number) for number in numbers]
            champion = client.get_model_version_by_alias(name, "champion")
            assert champion.tags["release"] == str(numbers[-1])
            experiment = client.get_experiment_by_name(name)
            assert experiment is not None
            runs = client.search_runs([experiment.experiment_id])
            assert sorted(run.data.tags["nightstill.run_id"] for run in runs) == [f"run-{number}" for number in numbers]
            for run in runs:
                assert (run.info.status, run.data.metrics) == ("FINISHED", {"wape": 0.25, "loss": 1.0})
                assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]
            if linked:
                assert {version.run_id for version in versions} == {run.info.run_id for run in runs}
        entries = self.releases.ledger.entries()
        assert [entry.release for entry in entries] == list(numbers)
        verify(self.releases)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Night]:
    """Of a workload named after the test's folder; clients do not ask again unless a test wants it."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return lambda uri: Night(uri, ReleaseStore(Elsewhere(tmp_path / "releases"), tmp_path.name.replace("_", "-")))


@pytest.mark.parametrize("done_first", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_mlflow_stops_at_a_step_and_the_next_try_makes_up_for_it(
    mlflow: Failing, night: Callable[[str], Night], step: str, done_first: bool
) -> None:
    one = night(mlflow.url)
    one.promote(1)
    mlflow.fail(step, done_first=done_first, times=1000)
    with pytest.raises(UnavailableError, match=f"MLflow at {mlflow.url}"):
        one.tell(1)
    assert mlflow.times < 1000
    assert [entry.release for entry in one.releases.ledger.entries()] == [1]
    mlflow.up()
    one.tell(1)
    one.check(1)


@pytest.mark.parametrize("step", STEPS)
def test_a_request_that_is_repeated_as_its_answer_was_lost_makes_nothing_twice(
    mlflow: Failing, night: Callable[[str], Night], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    one = night(mlflow.url)
    one.promote(1)
    mlflow.fail(step, done_first=True, times=1)
    one.tell(1)
    assert mlflow.times == 0
    one.check(1)


def test_an_alias_that_another_process_set_at_that_moment_is_no_failure(
    server: Server, night: Callable[[str], Night]
) -> None:
    with serving(Colliding(server.url)) as edge:
        one = night(edge.url)
        one.promote(1)
        one.tell(1)
        one.promote(2)
        edge.at, edge.times = "/registered-models/alias", 1
        one.tell(2)
        assert edge.times == 0
        one.check(1, 2)
        one.promote(3)
        edge.times = 1000
        with pytest.raises(UnavailableError, match="UNIQUE constraint failed"):
            one.tell(3)  # no collision: it never ends


@pytest.mark.parametrize("step", ["/runs/log-batch", "/artifacts/", "/runs/update"])
def test_a_run_that_was_overtaken_gives_way(server: Server, night: Callable[[str], Night], step: str) -> None:
    with serving(Overtaken(server.url)) as edge:
        one = night(edge.url)
        one.promote(1)
        edge.at, edge.experiment = step, experiment_name(one.workload)
        one.tell(1)
        assert not edge.at
        one.check(1)


def test_syncs_at_once_make_one_version_of_each_release(
    server: Server, night: Callable[[str], Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # as nights have it
    one = night(server.url)
    for number in (1, 2, 3):
        one.promote(number)
        log_run(
            Tracking(server.url),
            experiment_name(one.workload),
            f"run-{number}",
            {},
            {"wape": 0.25, "loss": 1.0},
            {},
            {},
            {},
        )
    start = threading.Barrier(SYNCS)

    def race(_: int) -> None:
        start.wait()
        sync(server.url, one.releases, one.workload)

    with ThreadPoolExecutor(SYNCS) as pool:
        list(pool.map(race, range(SYNCS)))
    assert sync(server.url, one.releases, one.workload) == []
    with connected(server.url) as client:
        versions = client.search_model_versions(f"name = '{experiment_name(one.workload)}'")
        assert sorted(version.tags["release"] for version in versions) == ["1", "2", "3"]


def test_a_run_logged_by_several_processes_at_once_is_there_once(
    server: Server, night: Callable[[str], Night], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # as nights have it
    one = night(server.url)
    one.promote(1)
    one.tell(1)
    start = threading.Barrier(SYNCS)

    def race(_: int) -> str:
        start.wait()
        name = experiment_name(one.workload)
        return log_run(
            Tracking(server.url), name, "run-2", {}, {"wape": 0.25, "loss": 1.0}, {}, {"report.html": b""}, {}
        )

    one.promote(2)
    with ThreadPoolExecutor(SYNCS) as pool:
        assert len(set(pool.map(race, range(SYNCS)))) == 1
    sync(server.url, one.releases, one.workload)
    one.check(1, 2)


def test_a_server_that_is_killed_and_started_again(server: Server, night: Callable[[str], Night]) -> None:
    one = night(server.url)
    one.promote(1)
    one.tell(1)
    server.kill()
    try:
        one.promote(2)
        with pytest.raises(UnavailableError, match=f"MLflow at {server.url}"):
            one.tell(2)
        one.promote(3)
    finally:
        server.start()
    # The third night knows nothing of the second; its sync makes up for both releases.
    one.tell(3)
    one.tell(2)
    one.check(1, 2, 3, linked=False)
