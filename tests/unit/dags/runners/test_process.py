"""Starting stages as processes: a shell script stands in for the task environment's Python."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowTaskTimeout,
)
from airflow.sdk.execution_time.timeout import timeout

from dags.project import HOME, ROOT
from dags.runners import process, run_command
from dags.runners.command import Command
from dags.runners.exits import fail
from dags.runners.process import ProcessOperator

MANIFEST = {"uri": "/store/runs/sales/r/promote.json", "sha256": "ab", "status": "done", "outcome": "promoted"}
Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Takes the lines of a script that stands for `python`; it gets the arguments that Python would."""

    def write(lines: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/bash\ncd {tmp_path}\n{lines}\n")
        path.chmod(0o755)
        monkeypatch.setenv("NIGHTSTILL_TASK_PYTHON", str(path))

    return write


def run(*arguments: str) -> Any:
    command = Command(name="sales/snapshot", arguments=arguments or ("run-stage", "snapshot"))
    return ProcessOperator(task_id="t", command=command).execute({})


def test_the_command_its_folder_and_its_settings(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program('printf "%s|" "$@" > arguments; env > environment; echo "$OLDPWD" > folder')
    monkeypatch.setenv("PYTHONPATH", "/airflow/only")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example")
    assert run("plan", "--as-of", "2026-01-05", "", "") is None
    assert (tmp_path / "arguments").read_text() == "-m|tasks|plan|--as-of|2026-01-05|"
    assert Path((tmp_path / "folder").read_text().strip()) == ROOT
    settings = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    assert (settings["NIGHTSTILL_PROJECT"], settings["NIGHTSTILL_HOME"]) == (str(ROOT), str(HOME))
    assert settings["AWS_ENDPOINT_URL"] == "http://s3.example"
    assert "PYTHONPATH" not in settings


def test_xcom_is_the_last_result_line(program: Program) -> None:
    earlier = json.dumps({**MANIFEST, "status": "earlier"})
    program(f"""
        echo '{earlier}'
        echo 'snapshot: 12 rows' >&2
        echo '{json.dumps(MANIFEST)}'
        echo '{{"loss": 0.5}}'
        echo '{{not json'
        echo 'ünreadable \xff' >&2""")
    assert run() == MANIFEST


@pytest.mark.parametrize(
    ("code", "said"), [(64, "wrong usage"), (65, "bad data"), (76, "integrity"), (78, "wrong configuration")]
)
def test_what_would_fail_again_is_never_retried(program: Program, code: int, said: str) -> None:
    program(f'echo "error: first"; echo "error: units: 7 rows below 0" >&2; exit {code}')
    with pytest.raises(AirflowFailException) as caught:
        run()
    assert str(caught.value) == f"{said} (exit code {code}): units: 7 rows below 0"


@pytest.mark.parametrize("code", [1, 2, 3, 70, 75, 137])
def test_everything_else_is_retried(program: Program, code: int) -> None:
    program(f"exit {code}")
    with pytest.raises(AirflowException) as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)
    assert str(caught.value) == f"exit code {code}: see the log above"


def test_a_result_line_of_a_failed_command_is_no_result(program: Program) -> None:
    program(f"echo '{json.dumps(MANIFEST)}'; exit 75")
    with pytest.raises(AirflowException):
        run()


def test_a_killed_command_is_retried_and_its_signal_named(program: Program) -> None:
    program("kill -KILL $$")
    with pytest.raises(AirflowException, match="killed by SIGKILL: see the log above") as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)


def test_fail_always_raises() -> None:
    with pytest.raises(AirflowException, match="exit code 75: the store did not answer"):
        fail(75, "the store did not answer")


def test_no_task_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_TASK_PYTHON", "/nowhere/python")
    with pytest.raises(AirflowFailException, match="/nowhere/python: no such program; run `make setup`"):
        run()


def test_the_task_environment_is_below_home_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTSTILL_TASK_PYTHON", raising=False)
    assert process.task_python() == str(HOME / "envs" / "task" / "bin" / "python")


def test_a_runner_that_there_is_none_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_RUNNER", "abacus")
    with pytest.raises(ValueError, match="'abacus': there is no such runner; there are: process, docker, kubernetes"):
        run_command({}, Command(name="sales/plan", arguments=("plan",)), task_id="t")


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all of them end; a killed process takes a moment to do so."""
    end = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


class Started:
    """A command that runs in a thread, with a child of its own: both processes' ids."""

    def __init__(self, folder: Path) -> None:
        self.operator = ProcessOperator(
            task_id="t", command=Command(name="sales/teach@lstm", arguments=("run-stage", "teach@lstm"))
        )
        self.error: AirflowException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        end = time.monotonic() + 10
        while not (folder / "pids").is_file() and time.monotonic() < end:
            time.sleep(0.02)
        self.pids = [int(pid) for pid in (folder / "pids").read_text().split()]

    def _run(self) -> None:
        try:
            self.operator.execute({})
        except AirflowException as error:
            self.error = error


TREE = "sleep 300 & echo $$ $! > pids.new; mv pids.new pids; wait"
# A child that cannot be asked to end.
STUBBORN = "(trap '' TERM; while :; do sleep 0.2; done) & echo $$ $! > pids.new; mv pids.new pids"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[], Started]]:
    found: list[Started] = []

    def start() -> Started:
        found.append(Started(tmp_path))
        return found[-1]

    yield start
    for one in found:
        for pid in filter(alive, one.pids):
            os.kill(pid, signal.SIGKILL)
        one.thread.join(10)


def test_killing_the_task_ends_the_command_and_its_children(program: Program, started: Callable[[], Started]) -> None:
    program(TREE)
    task = started()
    assert all(map(alive, task.pids))
    task.operator.on_kill()
    task.thread.join(60)
    assert gone(task.pids)
    # A worker that shuts down is no reason to give the night up.
    assert task.error is not None and not isinstance(task.error, AirflowFailException)
    assert "killed by SIGTERM" in str(task.error)


def test_a_command_that_will_not_end_is_gone_before_airflow_kills_the_task(
    program: Program, started: Callable[[], Started]
) -> None:
    program(f"{STUBBORN}; trap '' TERM; wait; sleep 300")
    task = started()
    begin = time.monotonic()
    task.operator.on_kill()
    # Five seconds are what Airflow gives a task between asking it to end and killing it.
    assert time.monotonic() - begin < 4.5
    task.thread.join(60)
    assert gone(task.pids)


def test_a_child_that_outlives_the_command_is_ended_too(
    program: Program, started: Callable[[], Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.3)
    program(f"{STUBBORN}; wait")
    task = started()
    task.operator.on_kill()
    task.thread.join(60)
    assert gone(task.pids)


def test_a_timeout_leaves_nothing_running(program: Program, tmp_path: Path) -> None:
    program(TREE)
    limit: Any = timeout
    with pytest.raises(AirflowTaskTimeout), limit(0.5):
        run()
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and gone(pids)
