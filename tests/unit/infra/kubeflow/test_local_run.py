from collections.abc import Callable
from pathlib import Path

import pytest
from docker.errors import DockerException, ImageNotFound  # type: ignore[import-not-found]

from infra.kubeflow import local_run, settings
from tests.unit.infra.kubeflow.conftest import Project

Codes = Callable[[str], int]


@pytest.fixture
def started(project: Project, unchanged: Project, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands of the containers that would have been started, all successful unless a test says otherwise."""

    def write(workload: str, folder: Path, project: settings.Project, _: settings.Settings) -> Path:
        project.section(workload)
        return unchanged.out / f"nightly_{workload}.yaml"

    monkeypatch.setattr(local_run, "write", write)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    commands: list[list[str]] = []
    monkeypatch.setattr(local_run, "check_image", lambda image: None)
    _play(monkeypatch, commands, lambda stage: 0)
    return commands


def _play(monkeypatch: pytest.MonkeyPatch, commands: list[list[str]], codes: Codes) -> None:
    def run_container(self: local_run.Container, task: local_run.Task) -> tuple[int, bool]:
        commands.append(self.full_command[4:])
        return codes(task.stage), False

    monkeypatch.setattr(local_run.Container, "run_container", run_container)


def test_a_night_runs_every_stage_once_after_those_it_reads_from(unchanged: Project, started: list[list[str]]) -> None:
    compiled = unchanged.compiled("sales")
    assert local_run.main(["sales", "--run-id", "n1", "--as-of", "2026-06-30", "--dry-run"]) == 0
    order = [command[0] for command in started]
    assert order[0] == "plan"
    assert order[-1] == "report"
    assert sorted(order) == sorted(compiled.tasks())
    for stage, upstream in compiled.edges("stages").items():
        assert all(order.index(other) < order.index(stage) for other in upstream)
    plan, first = started[:2]
    assert (plan[1:3], plan[4:]) == (["sales", "n1"], ["2026-06-30", "false", "true"])
    assert first[:3] == ["snapshot", "sales", "n1"]


def test_after_a_failure_only_the_exit_task_runs(
    project: Project,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _play(monkeypatch, started, lambda stage: 65 if stage == "validate" else 0)
    assert local_run.main(["sales", "--run-id", "n1"]) == 1
    assert [command[0] for command in started] == ["plan", "snapshot", "validate", "report"]
    assert started[-1][1:3] == ["sales", "n1"]
    said = capsys.readouterr().err.splitlines()
    assert "error: validate failed with exit code 65" in said
    assert "error: promote did not run" in said


def test_without_an_open_run_nothing_else_runs(
    project: Project, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _play(monkeypatch, started, lambda stage: 75)
    assert local_run.main(["sales", "--run-id", "n1"]) == 1
    assert [command[0] for command in started] == ["plan"]


def test_a_report_that_fails_fails_the_night(
    project: Project, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _play(monkeypatch, started, lambda stage: 70 if stage == "report" else 0)
    assert local_run.main(["sales", "--run-id", "n1"]) == 1


def test_containers_get_what_was_compiled_and_nothing_of_this_machine(
    unchanged: Project, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = local_run.read_tasks(unchanged.out / "nightly_sales.yaml")["teach@lstm"]
    assert task.confinement("host") == {
        "network_mode": "host",
        "nano_cpus": 1_000_000_000,
        "mem_limit": 3 * 2**30,
        "memswap_limit": 3 * 2**30,
        "pids_limit": 1024,
        "read_only": True,
        "tmpfs": {"/workspace": f"size={2**30},uid=10001,gid=10001,mode=0700"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
    }
    monkeypatch.setenv("NOT_THEIRS", "1")
    variables = task.variables()
    assert variables["AWS_SECRET_ACCESS_KEY"] == "hidden"
    assert variables["NIGHTSTILL_RUN_STORE"] == "s3://models/runs"
    assert "NOT_THEIRS" not in variables


def test_missing_credentials_are_told_before_anything_runs(
    project: Project,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert local_run.main(["sales", "--run-id", "n1"]) == 78
    assert started == []
    assert capsys.readouterr().err == "error: AWS_SECRET_ACCESS_KEY not set: the stages need them\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImageNotFound("no"), "error: the Docker Engine has no image nightstill-task:latest; `make images` builds it"),
        (DockerException("nobody there"), "error: Docker: nobody there"),
    ],
)
def test_no_engine_and_no_image_are_one_line(
    project: Project,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def refuse(image: str) -> None:
        raise error

    monkeypatch.setattr(local_run, "check_image", refuse)
    assert local_run.main(["sales", "--run-id", "n1"]) == 75
    assert capsys.readouterr().err.splitlines() == [said]


def test_an_unknown_workload_is_one_clear_error(project: Project, started: list[list[str]]) -> None:
    assert local_run.main(["weather", "--run-id", "n1"]) == 64
