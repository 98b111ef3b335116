import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
STORES = {
    "NIGHTSTILL_RUN_STORE": "s3://models/runs",
    "NIGHTSTILL_RELEASE_STORE": "s3://models/releases",
    "NIGHTSTILL_DVC_REMOTE": "s3://models/dvc",
    "NIGHTSTILL_FORECASTS": "s3://models/forecasts",
    "NIGHTSTILL_TRACKING_URI": "https://mlflow.example",
}


class Project:
    """A folder with dvc.yaml and params.yaml that a test may change, and the pipelines compiled from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out = root / "out"
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(ROOT / name, root)

    def read(self, name: str) -> Any:
        return yaml.safe_load((self.root / name).read_text())

    def write(self, name: str, document: Any) -> None:
        (self.root / name).write_text(yaml.safe_dump(document, sort_keys=False))

    def compile(self, *workloads: str) -> int:
        from infra.kubeflow import compile as compiling

        return compiling.main([*workloads, "--out", str(self.out)])

    def text(self, workload: str) -> str:
        return (self.out / f"nightly_{workload}.yaml").read_text()

    def compiled(self, workload: str) -> "Compiled":
        return Compiled(self.text(workload))


class Compiled:
    """A compiled pipeline, by stages of dvc.yaml."""

    def __init__(self, text: str) -> None:
        self.pipeline, platform = yaml.safe_load_all(text)
        self.extras = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.dags: dict[str, Mapping[str, Any]] = {"": self.pipeline["root"]["dag"]["tasks"]}
        for task in self.dags[""].values():
            component = self.pipeline["components"][task["componentRef"]["name"]]
            if "dag" in component:
                self.dags[task["taskInfo"]["name"]] = component["dag"]["tasks"]

    def tasks(self) -> dict[str, Mapping[str, Any]]:
        """Every task that is a container."""
        return {
            task["taskInfo"]["name"]: task
            for dag in self.dags.values()
            for task in dag.values()
            if task["taskInfo"]["name"] not in self.dags
        }

    def edges(self, dag: str) -> dict[str, set[str]]:
        """Task to the tasks it waits for, within the whole pipeline ("") or a group of it."""
        names = {key: task["taskInfo"]["name"] for key, task in self.dags[dag].items()}
        return {
            names[key]: {names[other] for other in task.get("dependentTasks", ())}
            for key, task in self.dags[dag].items()
        }

    def label(self, stage: str) -> str:
        component: str = self.tasks()[stage]["componentRef"]["name"]
        label: str = self.pipeline["components"][component]["executorLabel"]
        return label

    def container(self, stage: str) -> Mapping[str, Any]:
        container: Mapping[str, Any] = self.pipeline["deploymentSpec"]["executors"][self.label(stage)]["container"]
        return container

    def extra(self, stage: str) -> Mapping[str, Any]:
        """What only Kubernetes understands."""
        extra: Mapping[str, Any] = self.extras[self.label(stage)]
        return extra


def _surroundings(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    for name, value in STORES.items():
        monkeypatch.setenv(name, value)
    for name in ("NIGHTSTILL_TASK_IMAGE", "NIGHTSTILL_KUBEFLOW_SECRET", "NIGHTSTILL_STAGE_VARIABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(root))
    monkeypatch.setenv("NIGHTSTILL_HOME", str(root / "home"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    _surroundings(monkeypatch, tmp_path)
    return Project(tmp_path)


@pytest.fixture(scope="session")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """This project as it is, compiled once: for tests that only look."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("unchanged")
        _surroundings(monkeypatch, root)
        project = Project(root)
        assert project.compile() == 0
    return project
