"""A copy of what the DAGs read of a project, and DAG files loaded by Airflow in a process of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[3]
LOADER = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
upstream = {
    name: {task.task_id: sorted(task.upstream_task_ids) for task in dag.tasks} for name, dag in bag.dags.items()
}
print(json.dumps({"errors": bag.import_errors, "dags": upstream, "modules": sorted(sys.modules)}))
"""


@dataclass
class Loaded:
    """What Airflow made of the DAG files: import errors by file, upstream tasks by DAG and task, imported modules."""

    errors: dict[str, str]
    dags: dict[str, dict[str, list[str]]]
    modules: list[str]


class Copy:
    """dvc.yaml and params.yaml in a folder of their own, for a test to change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(PROJECT / name, root)

    def change(self, name: str, mend: Callable[[Any], None]) -> None:
        document = yaml.safe_load((self.root / name).read_text())
        mend(document)
        (self.root / name).write_text(yaml.safe_dump(document, sort_keys=False))

    def load(self, **settings: str) -> Loaded:
        """Load the repository's DAG files for this project."""
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(self.root / "airflow"),
            "PYTHONPATH": str(PROJECT),
            "NIGHTSTILL_PROJECT": str(self.root),
            **settings,
        }
        done = subprocess.run(
            [sys.executable, "-c", LOADER, str(PROJECT / "dags")],
            env=environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return Loaded(**json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(autouse=True)
def run_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody was told of anything yet, and nothing is released."""
    monkeypatch.setenv("NIGHTSTILL_RELEASE_STORE", str(tmp_path / "releases"))
    monkeypatch.setenv("NIGHTSTILL_RUN_STORE", str(tmp_path / "run-store"))
    return tmp_path / "run-store"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A fresh copy."""
    root = tmp_path / "project"
    root.mkdir()
    return Copy(root)
