"""Waiting for a night's data: a shell script stands in for the command that looks for them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.bases.operator import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from dags.notify import OpsNotifier
from dags.runners.command import Command
from dags.runners.docker import ContainerOperator
from dags.runners.kubernetes import PodOperator
from dags.runners.process import ProcessOperator
from dags.waiting import LateData, Waiting, wait_for_data
from tasks.core.params import Patience, patience

SAID = "date: days without data before as_of 2026-06-29: 1 (expected <= 0)"
Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Sets what the task environment's Python does."""
    path = tmp_path / "python"
    monkeypatch.setenv("NIGHTSTILL_TASK_PYTHON", str(path))

    def does(script: str) -> None:
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    return does


def fresh(runner: str = "process", wait: float = 60, poll: float = 5) -> Any:
    command = Command("sales/fresh", ("fresh", "sales", "--as-of", "2026-06-29"))
    return wait_for_data({"runner": runner}, command, Patience(wait, poll), task_id="fresh")


def now() -> pendulum.DateTime:
    return pendulum.now("UTC")


def context(minutes_ago: float) -> Any:
    """Of a night whose time was so long ago."""
    return {"dag_run": SimpleNamespace(run_after=datetime.now(UTC) - timedelta(minutes=minutes_ago))}


def test_data_that_are_there_are_not_waited_for(program: Program) -> None:
    program("echo 'sales: the data reach up to 2026-06-29'")
    assert fresh().execute(context(0)) is None


def test_data_that_are_not_there_yet_are_looked_for_again_and_no_worker_waits(program: Program) -> None:
    program(f"echo 'error: {SAID}' >&2; exit 4")
    with pytest.raises(TaskDeferred) as deferred:
        fresh().execute(context(40))
    trigger = deferred.value.trigger
    assert isinstance(trigger, DateTimeTrigger) and deferred.value.method_name == "look_again"
    assert timedelta(minutes=4) < trigger.moment - now() <= timedelta(minutes=5)
    program("true")
    assert fresh().resume_execution("look_again", {"event": trigger.moment}, context(45)) is None


def test_the_last_look_is_when_the_minutes_are_used_up(program: Program) -> None:
    program(f"echo 'error: {SAID}' >&2; exit 4")
    with pytest.raises(TaskDeferred) as deferred:
        fresh().execute(context(58))
    trigger = deferred.value.trigger
    assert isinstance(trigger, DateTimeTrigger)
    assert timedelta(minutes=1) < trigger.moment - now() <= timedelta(minutes=2)


def test_a_last_pause_of_seconds_is_longer_as_airflow_would_take_it_for_a_failure(program: Program) -> None:
    program(f"echo 'error: {SAID}' >&2; exit 4")
    with pytest.raises(TaskDeferred) as deferred:
        fresh().execute(context(59.95))
    trigger = deferred.value.trigger
    assert isinstance(trigger, DateTimeTrigger)
    assert timedelta(seconds=10) < trigger.moment - now() <= timedelta(seconds=15)


def test_data_that_never_come_are_one_message_and_no_retry(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(f"echo 'error: {SAID}' >&2; exit 4")
    night = {**context(60), "ti": SimpleNamespace(task_id="fresh", try_number=1)}
    night["dag_run"].run_id = "scheduled__2026-06-30T01:00:00+00:00"
    with pytest.raises(LateData) as late:
        fresh().execute(night)
    assert isinstance(late.value, AirflowFailException)
    monkeypatch.setenv("NIGHTSTILL_NOTIFY", f"file:{tmp_path / 'told.jsonl'}")
    OpsNotifier(event="failed", workload="sales").notify({**night, "exception": late.value})  # type: ignore[typeddict-item]
    (told,) = map(json.loads, (tmp_path / "told.jsonl").read_text().splitlines())
    assert told["event"] == "late data" and SAID in told["reason"]
    assert told["text"].startswith("nightstill sales: late data at fresh: ")


@pytest.mark.parametrize(("code", "kind"), [(65, AirflowFailException), (75, AirflowException)])
def test_whatever_else_is_wrong_is_not_waited_for(program: Program, code: int, kind: type[Exception]) -> None:
    program(f"echo 'error: units: type (expected number)' >&2; exit {code}")
    with pytest.raises(kind, match="units: type") as failed:
        fresh().execute(context(0))
    assert not isinstance(failed.value, LateData) and not hasattr(failed.value, "event")


@pytest.mark.parametrize(
    ("runner", "kind"), [("process", ProcessOperator), ("docker", ContainerOperator), ("kubernetes", PodOperator)]
)
def test_every_runner_looks_by_its_own_operator(runner: str, kind: type[BaseOperator]) -> None:
    task = fresh(runner)
    assert isinstance(task, Waiting) and isinstance(task, kind)
    assert task.template_fields == kind.template_fields and task.ui_color == kind.ui_color


def test_by_default_a_night_does_not_wait_and_one_that_does_looks_every_five_minutes() -> None:
    assert patience({"source": {"kind": "table"}}) == (0, 5)
    assert patience({"source": {"kind": "table", "wait_minutes": 90, "poll_minutes": 0.5}}) == (90, 0.5)
