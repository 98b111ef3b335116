"""Airflow's own loading of the DAG files, in a fresh process: what a project's files alone decide."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.utils.file import list_py_file_paths

from dags import nightly
from dags.project import ROOT
from infra.local import night

HEAVY = {"dvc", "great_expectations", "mlflow", "numpy", "onnx", "onnxruntime", "pandas", "polars", "sklearn", "torch"}
# The image of Airflow holds these and no other.
OURS = {
    f"tasks.{name}"
    for name in (
        *(
            "core",
            "core.approval",
            "core.config",
            "core.documents",
            "core.errors",
            "core.machine",
            "core.params",
            "core.reason",
            "core.redaction",
        ),
        "core.storage",
        *("pipeline", "pipeline.graph", "pipeline.resources"),
        *("pipeline.handover", "pipeline.handover.manifest", "pipeline.handover.surroundings"),
        *("releases", "releases.ledger", "releases.manifest", "releases.standing"),
    )
}


def upstream(workload: str) -> dict[str, list[str]]:
    """The repository's own DAG."""
    tasks = getattr(nightly, f"nightly_{workload}").tasks
    return {task.task_id: sorted(task.upstream_task_ids) for task in tasks}


def test_a_stage_added_to_dvc_yaml_is_a_task_with_no_other_change(copy: Any) -> None:
    def add(document: dict[str, Any]) -> None:
        document["stages"]["explain"] = {
            "desc": "Say which feature mattered",
            "cmd": "python -m tasks stage explain",
            "deps": [
                "tasks/core/config.py",
                "artifacts/features",
                "artifacts/candidates/fp32",
                "artifacts/candidates/fp16",
            ],
            "outs": ["artifacts/explanations"],
        }
        document["stages"]["promote"]["deps"].append("artifacts/explanations")

    copy.change("dvc.yaml", add)
    loaded = copy.load()
    assert loaded.errors == {}
    for workload in ("sales", "customers"):
        expected = {
            **upstream(workload),
            "explain": ["compress.fp16", "compress.fp32"],
            "promote": ["evaluate", "explain"],
        }
        assert loaded.dags[f"nightly_{workload}"] == expected
    # Nothing of the stages' libraries comes in with the DAGs, and of our package only what needs none of them.
    assert HEAVY.isdisjoint(loaded.modules)
    assert {name for name in loaded.modules if name.startswith("tasks.")} <= OURS


def test_airflow_reads_no_file_that_makes_no_dag() -> None:
    read = {path.rpartition("/")[2] for path in list_py_file_paths(str(ROOT / "dags"))}
    assert read == {"nightly.py", "releases.py", "scoring.py", "tidying.py", "watching.py"}


def test_a_workload_of_its_own_file_has_dags_once_somebody_wants_to_see_it(
    copy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night, "ASKED", tmp_path / night.ASKED.name)
    section = yaml.safe_load((copy.root / "params.yaml").read_text())["workloads"]["customers"]
    del section["schedule"]
    (copy.root / "workloads").mkdir()
    for name in ("guests", "strangers", "visitors"):
        text = yaml.safe_dump({"workloads": {name: {**section, "title": name.title()}}})
        (copy.root / "workloads" / f"{name}.yaml").write_text(text)
    night.ask_for("visitors")
    night.ask_for("../no-workload")
    night.ask_for("gone")
    loaded = copy.load(NIGHTSTILL_WORKLOADS="guests", NIGHTSTILL_HOME=str(night.ASKED.parent))
    assert loaded.errors == {}
    assert loaded.dags["nightly_guests"] == loaded.dags["nightly_visitors"] == upstream("customers")
    nights = {name for name in loaded.dags if name.startswith("nightly_")}
    assert nights == {f"nightly_{name}" for name in ("sales", "customers", "guests", "visitors")}


def test_workloads_and_members_of_params_yaml_are_dags_and_tasks(copy: Any) -> None:
    def add(document: dict[str, Any]) -> None:
        sections = document["workloads"]
        sections["returns"] = {**sections["sales"], "title": "Returns"}
        sections["customers"]["teachers"] = {"only": sections["customers"]["teachers"]["mlp-wide"]}
        del sections["customers"]["recipes"]["fp16"]

    copy.change("params.yaml", add)
    loaded = copy.load()
    assert loaded.errors == {}
    assert set(loaded.dags) == {"tidy"} | {
        f"{kind}_{workload}"
        for kind in ("nightly", "score", "rollback", "verify", "watch")
        for workload in ("sales", "customers", "returns")
    }
    assert loaded.dags["nightly_returns"] == loaded.dags["nightly_sales"] == upstream("sales")
    customers = loaded.dags["nightly_customers"]
    assert [task for task in customers if task.startswith("teach.")] == ["teach.only"]
    assert customers["distil.twin"] == ["teach.only"]
    assert customers["evaluate"] == ["compress.fp32", "compress.int8-dynamic", "compress.neurons"]
