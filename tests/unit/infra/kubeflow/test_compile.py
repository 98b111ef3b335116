import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kfp import components  # type: ignore[import-untyped]

from infra.kubeflow.compile import END_SCRIPT, PLAN_SCRIPT, STAGE_SCRIPT
from tasks.pipeline.graph import load_graph
from tasks.pipeline.handover.surroundings import SECRETS
from tests.unit.infra.kubeflow.conftest import Compiled, Project

ALWAYS = "report"
GROUP = "stages"


def graph_edges(project: Project, workload: str) -> dict[str, set[str]]:
    graph = load_graph((project.root / "dvc.yaml").read_text(), project.read("params.yaml")["workloads"][workload])
    return {stage.name: set(stage.upstream) for stage in graph.stages.values()}


def assert_same_edges(compiled: Compiled, edges: dict[str, set[str]]) -> None:
    assert compiled.edges("") == {"plan": set(), GROUP: {"plan"}, ALWAYS: {GROUP}}
    inside = compiled.edges(GROUP)
    assert inside == {stage: upstream for stage, upstream in edges.items() if stage != ALWAYS}
    assert edges[ALWAYS] <= set(inside)
    assert compiled.tasks()[ALWAYS]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


@pytest.mark.parametrize("workload", ["sales", "customers"])
def test_a_pipeline_has_the_stages_and_edges_of_the_graph(unchanged: Project, workload: str) -> None:
    assert_same_edges(unchanged.compiled(workload), graph_edges(unchanged, workload))


def test_the_edges_of_sales_in_so_many_words(unchanged: Project) -> None:
    edges = unchanged.compiled("sales").edges(GROUP)
    assert edges["snapshot"] == set()
    assert edges["features"] == {"snapshot", "validate"}
    assert edges["distil@twin"] == {"features", "teach@lightgbm", "teach@lstm"}


def test_a_changed_dvc_yaml_and_params_yaml_change_the_pipeline(project: Project) -> None:
    pipeline = project.read("dvc.yaml")
    pipeline["stages"]["audit"] = {
        "cmd": "python -m tasks stage audit",
        "deps": ["artifacts/promotion"],
        "outs": ["artifacts/audit"],
        "meta": {"timeout_minutes": 7},
    }
    pipeline["stages"]["report"]["deps"].append("artifacts/audit")
    project.write("dvc.yaml", pipeline)
    params = project.read("params.yaml")
    sales = params["workloads"]["sales"]
    sales["recipes"] = {"fp16": sales["recipes"]["fp16"], "fp16-again": sales["recipes"]["fp16"]}
    project.write("params.yaml", params)

    assert project.compile("sales") == 0

    compiled = project.compiled("sales")
    assert_same_edges(compiled, graph_edges(project, "sales"))
    assert compiled.edges(GROUP)["audit"] == {"promote"}
    assert {stage for stage in compiled.tasks() if stage.startswith("compress")} == {
        "compress@fp16",
        "compress@fp16-again",
    }
    assert compiled.extra("audit")["activeDeadlineSeconds"] == "420"


def test_without_a_stage_that_runs_in_any_case_the_forecasts_end_the_run(project: Project) -> None:
    pipeline = project.read("dvc.yaml")
    del pipeline["stages"]["report"]["meta"]["trigger"]
    project.write("dvc.yaml", pipeline)
    assert project.compile("sales") == 0
    compiled = project.compiled("sales")
    assert compiled.edges("") == {"plan": set(), GROUP: {"plan"}, "score": {GROUP}}
    assert compiled.edges(GROUP) == graph_edges(project, "sales")


def test_two_stages_that_run_in_any_case_are_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = project.read("dvc.yaml")
    pipeline["stages"]["promote"]["meta"]["trigger"] = "all_done"
    project.write("dvc.yaml", pipeline)
    assert project.compile("sales") == 78
    assert capsys.readouterr().err.splitlines() == [
        "error: dvc.yaml: stages promote, report: Kubeflow has room for one with the trigger all_done"
    ]


def test_a_stage_after_the_one_that_runs_in_any_case_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = project.read("dvc.yaml")
    pipeline["stages"]["report"]["outs"] = ["artifacts/report"]
    pipeline["stages"]["mail"] = {"cmd": "mail", "deps": ["artifacts/report"]}
    project.write("dvc.yaml", pipeline)
    assert project.compile("sales") == 78
    assert "does not read from mail" in capsys.readouterr().err


def test_a_stage_gets_its_limits_and_a_confined_workspace(project: Project) -> None:
    params = project.read("params.yaml")
    params["workloads"]["sales"]["resources"] = {
        "default": {"cpus": 1, "memory": "2Gi", "workspace": "1Gi"},
        "teach": {"cpus": 1.5, "memory": "3Gi"},
        "teach@lightgbm": {"memory": "640Mi", "workspace": "512Mi"},
        "plan": {"memory": "256Mi"},
        "score": {"memory": "3Gi"},
    }
    project.write("params.yaml", params)
    assert project.compile("sales") == 0
    compiled = project.compiled("sales")

    def limits(stage: str) -> tuple[str, str, str]:
        resources, mount = compiled.container(stage)["resources"], compiled.extra(stage)["emptyDirMounts"][0]
        assert mount["mountPath"] == "/workspace"
        return resources["resourceCpuLimit"], resources["resourceMemoryLimit"], mount["sizeLimit"]

    assert limits("snapshot") == ("1", "2Gi", "1Gi")
    assert limits("teach@lstm") == ("1.5", "3Gi", "1Gi")
    assert limits("teach@lightgbm") == ("1.5", "640Mi", "512Mi")
    assert limits("plan") == ("1", "256Mi", "1Gi")
    assert limits("report") == ("1", "3Gi", "1Gi"), "it makes the forecasts too"
    for stage in compiled.tasks():
        assert compiled.extra(stage)["securityContext"] == {
            "runAsUser": "10001",
            "runAsGroup": "10001",
            "runAsNonRoot": True,
        }


def test_every_task_is_tried_again_and_none_is_cached(unchanged: Project) -> None:
    tasks = unchanged.compiled("sales").tasks()
    assert len(tasks) == 17
    assert {task["retryPolicy"]["maxRetryCount"] for task in tasks.values()} == {2}
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks.values())


def test_stages_know_the_image_and_the_stores(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_TASK_IMAGE", "registry.example/task@sha256:12")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("HOME_GROWN", "1")
    assert project.compile("sales") == 0
    compiled = project.compiled("sales")
    for stage in compiled.tasks():
        container = compiled.container(stage)
        assert container["image"] == "registry.example/task@sha256:12"
        found = {variable["name"]: variable["value"] for variable in container["env"]}
        assert found["NIGHTSTILL_RUN_STORE"] == "s3://models/runs"
        assert found["NIGHTSTILL_TRACKING_URI"] == "https://mlflow.example"
        assert found["AWS_ENDPOINT_URL"] == "https://s3.example"
        assert "HOME_GROWN" not in found


def test_credentials_are_named_and_never_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, "WAREHOUSE_PASSWORD"):
        monkeypatch.setenv(name, f"value-of-{name.lower()}")
    monkeypatch.setenv("NIGHTSTILL_KUBEFLOW_SECRET", "team-secret")
    monkeypatch.setenv("NIGHTSTILL_STAGE_VARIABLES", "WAREHOUSE_PASSWORD")
    assert project.compile("sales") == 0
    assert "value-of-" not in project.text("sales")
    compiled = project.compiled("sales")
    for stage in compiled.tasks():
        found = {
            key["envVar"]: (secret["secretName"], key["secretKey"], secret["optional"])
            for secret in compiled.extra(stage)["secretAsEnv"]
            for key in secret["keyToEnv"]
        }
        assert found == {
            "AWS_ACCESS_KEY_ID": ("team-secret", "AWS_ACCESS_KEY_ID", False),
            "AWS_SECRET_ACCESS_KEY": ("team-secret", "AWS_SECRET_ACCESS_KEY", False),
            "WAREHOUSE_PASSWORD": ("team-secret", "WAREHOUSE_PASSWORD", False),
            "AWS_SESSION_TOKEN": ("team-secret", "AWS_SESSION_TOKEN", True),
            "MLFLOW_TRACKING_USERNAME": ("team-secret", "MLFLOW_TRACKING_USERNAME", True),
            "MLFLOW_TRACKING_PASSWORD": ("team-secret", "MLFLOW_TRACKING_PASSWORD", True),
            "MLFLOW_TRACKING_TOKEN": ("team-secret", "MLFLOW_TRACKING_TOKEN", True),
            "OTEL_EXPORTER_OTLP_HEADERS": ("team-secret", "OTEL_EXPORTER_OTLP_HEADERS", True),
            "OPENLINEAGE_API_KEY": ("team-secret", "OPENLINEAGE_API_KEY", True),
        }


def test_a_role_of_the_pods_needs_no_secret(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_KUBEFLOW_SECRET", "")
    assert project.compile("sales") == 0
    assert "secretAsEnv" not in project.text("sales")


@pytest.mark.parametrize("workload", ["sales", "customers"])
def test_kubeflow_can_load_what_was_compiled(unchanged: Project, workload: str) -> None:
    loaded = components.load_component_from_file(str(unchanged.out / f"nightly_{workload}.yaml"))
    assert loaded.name == f"nightly-{workload}"
    inputs = loaded.component_spec.inputs
    assert {name: (spec.type, spec.default) for name, spec in inputs.items()} == {
        "as_of": ("String", ""),
        "force": ("Boolean", False),
        "dry_run": ("Boolean", False),
        "run_id": ("String", ""),
    }


def test_the_same_project_gives_the_same_file_and_only_what_is_asked_for(project: Project, unchanged: Project) -> None:
    assert project.compile("sales") == 0
    assert project.text("sales") == unchanged.text("sales")
    assert not (project.out / "nightly_customers.yaml").exists()


def test_an_unknown_workload_is_one_clear_error(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.compile("weather") == 64
    assert capsys.readouterr().err.splitlines() == [
        "error: no workload 'weather' in params.yaml, nor one of workloads/ that NIGHTSTILL_WORKLOADS names; "
        "there are: customers, sales"
    ]


def _limits(params: dict[str, Any]) -> None:
    params["workloads"]["sales"]["resources"] = {"teach": {"memory": "much"}}


def _teachers(params: dict[str, Any]) -> None:
    del params["workloads"]["sales"]["teachers"]


def _title(params: dict[str, Any]) -> None:
    del params["workloads"]["sales"]["title"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_limits, "params.yaml: workloads.sales.resources.teach.memory"),
        (_teachers, "dvc.yaml: the section names no `teachers`"),
        (_title, "{root}/params.yaml: workloads.sales: expected a section with a title and a schedule"),
        (dict.clear, "{root}/params.yaml: workloads: expected at least one section"),
    ],
)
def test_bad_parameters_are_one_clear_error(
    project: Project, capsys: pytest.CaptureFixture[str], spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    params = project.read("params.yaml")
    spoil(params)
    project.write("params.yaml", params)
    assert project.compile("sales") == 78
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {said.format(root=project.root)}")


@pytest.mark.parametrize("content", ["workloads: [", "workloads: {a: {title: x}, a: {title: y}}", None])
def test_unreadable_parameters_are_one_clear_error(
    project: Project, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = project.root / "params.yaml"
    path.unlink() if content is None else path.write_text(content)
    assert project.compile("sales") == 78
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {path}: ")


def test_a_store_that_containers_cannot_share_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSTILL_DVC_REMOTE", "/var/dvc")
    assert project.compile("sales") == 78
    assert capsys.readouterr().err.splitlines() == [
        "error: NIGHTSTILL_DVC_REMOTE='/var/dvc': stages in containers share no disk; set it to s3://…"
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["", "kfp-1", "", "false", "false"], ["--run-id", "kfp-1"]),
        (["mine", "kfp-1", "2026-06-30", "False", "False"], ["--run-id", "mine", "--as-of", "2026-06-30"]),
        (["", "kfp-1", "", "true", "True"], ["--run-id", "kfp-1", "--force", "--dry-run"]),
        (["a; exit 3", "x", "$(exit 4)", "", ""], ["--run-id", "a; exit 3", "--as-of", "$(exit 4)"]),
    ],
)
def test_plan_is_told_only_what_is_given(tmp_path: Path, given: list[str], expected: list[str]) -> None:
    assert _told(tmp_path, PLAN_SCRIPT, ["plan", "sales", *given]) == ["plan", "--workload", "sales", *expected]


def test_a_stage_belongs_to_the_run_of_plan(tmp_path: Path) -> None:
    told = _told(tmp_path, STAGE_SCRIPT, ["teach@lstm", "sales", "", "kfp-1"])
    assert told == ["run-stage", "teach@lstm", "--workload", "sales", "--run-id", "kfp-1"]
    assert _told(tmp_path, STAGE_SCRIPT, ["report", "sales", "mine", "kfp-1"])[-1] == "mine"


@pytest.mark.parametrize(
    ("score", "report", "code"), [(0, 0, 0), (4, 0, 0), (76, 0, 76), (0, 75, 75), (4, 75, 75), (65, 75, 75)]
)
def test_a_night_ends_with_forecasts_then_the_report_and_fails_if_one_does(
    tmp_path: Path, score: int, report: int, code: int
) -> None:
    """Without a release, or valid data, there is nothing to forecast (4), which is no failure."""
    told = _told(tmp_path, END_SCRIPT, ["report", "sales", "", "kfp-1"], {"score": score, "run-stage": report}, code)
    assert told[:5] == ["score", "sales", "--keep", "--run-id", "kfp-1"]
    assert told[5:] == ["run-stage", "report", "--workload", "sales", "--run-id", "kfp-1"]


def _told(folder: Path, script: str, arguments: list[str], codes: Mapping[str, int] = {}, code: int = 0) -> list[str]:
    """What `nightstill` is started with when the container's shell runs a script, which ends with `code`."""
    program = folder / "nightstill"
    ends = "".join(f"{name}) exit {number} ;; " for name, number in codes.items())
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\"\ncase $1 in {ends}esac\n")
    program.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["sh", "-c", script, "nightstill", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()


def test_a_step_on_several_machines_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = project.read("params.yaml")
    params["workloads"]["sales"]["resources"] = {"teach@lstm": {"nodes": 2}}
    project.write("params.yaml", params)
    assert project.compile("sales") != 0
    assert "resources.teach@lstm.nodes: 2, but a pipeline's step is one pod" in capsys.readouterr().err
