"""One night by three runners: processes, Airflow with containers, Kubeflow's pipeline in local containers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.core.settings import Settings
from tasks.pipeline.handover.queries import read_output
from tasks.pipeline.handover.run_store import RunStore
from tests.conftest import PROJECT
from tests.e2e.conftest import ENVIRONMENTS
from tests.e2e.containers.conftest import Stack, s3_environment, stores

pytestmark = [pytest.mark.timeout(1800)]

VERDICT = "artifacts/evaluation/verdict.json"


class Run:
    """A finished run, wherever it ran: its locks, and files that its stages left."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        self.settings, self.run_id = settings, run_id
        store = RunStore(settings.runs())
        found = store.manifests("sales", run_id)
        assert {manifest.status for manifest in found.values()} == {"done"}
        self.locks = {name: store.lock(manifest) for name, manifest in found.items() if name != "report"}
        self.outcome = found["promote"].summary

    def read(self, stage: str, path: str) -> bytes:
        content = read_output(self.settings, "sales", self.run_id, stage, path)
        assert content is not None
        return content


def in_processes(stack: Stack, root: Path) -> Run:
    """`nightstill run`: every stage a process of this machine, stores in folders."""
    settings = Settings(home=root, project=stack.project.root)
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(PROJECT)}
    command = ["run", "sales", "--run-id", "processes", "--as-of", str(stack.yesterday)]
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *command],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(settings, "processes")


def in_kubeflow(stack: Stack, root: Path) -> Run:
    """The compiled pipeline under Kubeflow's local runner, in the environment of its own; stores in S3."""
    python = ENVIRONMENTS / "kubeflow" / "bin" / "python"
    made = [sys.executable, "-m", "infra.local.environments", "kubeflow"]
    home = ENVIRONMENTS.parent
    subprocess.run(made, cwd=PROJECT, env={**os.environ, "NIGHTSTILL_HOME": str(home)}, check=True)
    own = stores(f"{stack.bucket}/kubeflow", stack.settings.tracking_uri)
    settings = Settings.model_validate({"home": root, "project": stack.project.root, **own})
    environment = {
        **os.environ,
        **settings.environment(),
        **s3_environment(),
        "NIGHTSTILL_TASK_IMAGE": stack.image,
        "NIGHTSTILL_DOCKER_NETWORK": "host",
        "PYTHONPATH": str(PROJECT),
    }
    command = ["sales", "--run-id", "kubeflow", "--as-of", str(stack.yesterday)]
    done = subprocess.run(
        [str(python), "-m", "infra.kubeflow.local_run", *command],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(settings, "kubeflow")


@pytest.fixture(scope="module")
def containers(stack: Stack, first: Any) -> Run:
    """The first night of the stack: Airflow with the docker runner."""
    return Run(stack.settings, first.run_id)


@pytest.mark.parametrize("runner", [in_processes, in_kubeflow])
def test_every_runner_writes_the_same_locks_models_and_verdict(
    runner: Any, stack: Stack, containers: Run, tmp_path: Path
) -> None:
    other = runner(stack, tmp_path)
    assert other.locks.keys() == containers.locks.keys()
    # Locks hold the digests of all that a stage read and wrote: equal data, features, model bytes and judgement.
    assert {name for name, lock in other.locks.items() if lock != containers.locks[name]} == set()
    assert other.read("evaluate", VERDICT) == containers.read("evaluate", VERDICT)
    assert other.outcome == containers.outcome and other.outcome["outcome"] == "promoted"
    winner = f"artifacts/candidates/{other.outcome['candidate']}/model.onnx"
    stage = f"compress@{other.outcome['candidate']}"
    assert other.read(stage, winner) == containers.read(stage, winner)
