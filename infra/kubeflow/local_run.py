"""This runs one night of a workload with Kubeflow's local runner: real containers of the task image, and no cluster.

    python -m infra.kubeflow.local_run WORKLOAD --run-id RUN_ID [--as-of YYYY-MM-DD] [--force] [--dry-run]

Compiles the workload's pipeline as `make kubeflow` does and runs that very file. Credentials are taken from this
process's environment, which stands for the Secret. NIGHTSTILL_DOCKER_NETWORK names the containers' network.

What Kubeflow's local runner leaves undone is done here, so that a stage has the surroundings it has on a cluster: it
would pass on neither the variables nor the limits of a compiled task, would keep the image's entrypoint, would mount
folders of this machine, and would take a container that vanished for a success. Some things are not done at all: stages
run one after another, never side by side, without retries and time limits. And as it stops at the first failure, the
exit task is run afterwards, as a pipeline of its own.

Exit code 0: every stage succeeded (a rejected candidate is a result, not a failure); 1: a stage failed; 64: no such
workload; 75: no Docker Engine or no image; 78: a setting, params.yaml or dvc.yaml is wrong.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from docker.client import DockerClient  # type: ignore[import-not-found]  # for mypy, `docker` is our folder of that name
from docker.errors import DockerException, ImageNotFound  # type: ignore[import-not-found]
from kfp import components, local  # type: ignore[import-untyped]
from kfp.local import docker_task_handler  # type: ignore[import-untyped]
from kfp.local.status import Status  # type: ignore[import-untyped]

from infra.kubeflow.compile import PLAN, USER, WORKSPACE, write
from infra.kubeflow.settings import BadConfiguration, Project, Settings, UnknownWorkload, home
from tasks.pipeline.resources import to_bytes

LABEL = "io.nightstill.kubeflow"


@dataclass(frozen=True)
class Task:
    """A task describes a compiled task's container. `secrets` maps variables to whether they may be unset."""

    stage: str
    cpus: float
    memory: int
    workspace: int
    environment: Mapping[str, str]
    secrets: Mapping[str, bool]

    def confinement(self, network: str) -> dict[str, Any]:
        """Return Docker's limits on the container, as under Airflow."""
        return {
            "network_mode": network,
            "nano_cpus": round(self.cpus * 1e9),
            "mem_limit": self.memory,
            "memswap_limit": self.memory,
            "pids_limit": 1024,
            "read_only": True,
            # By its owner: some runtimes give a workspace that the image has already that folder's mode, not this one.
            "tmpfs": {WORKSPACE: f"size={self.workspace},uid={USER},gid={USER},mode=0700"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,
        }

    def variables(self) -> dict[str, str]:
        """Return the container's environment. Raises BadConfiguration when a required variable is not set."""
        missing = [name for name, optional in self.secrets.items() if not optional and name not in os.environ]
        if missing:
            raise BadConfiguration(f"{', '.join(missing)} not set: the stages need them")
        return {**self.environment, **{name: os.environ[name] for name in self.secrets if name in os.environ}}


@dataclass
class Night:
    """A night has the tasks of a run by stage, and the exit codes of the ended ones."""

    tasks: Mapping[str, Task]
    network: str
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Return whether any task failed, or did not even run."""
        return set(self.codes) != set(self.tasks) or any(self.codes.values())


class Container(docker_task_handler.DockerTaskHandler):  # type: ignore[misc]
    """This runs a compiled task in a container, which is removed afterwards."""

    night: ClassVar[Night]

    def run(self) -> Status:
        """Bring the container to its end, passing its output on."""
        # `sh -c <script> nightstill <stage> …`: the same for `plan`, see infra/kubeflow/compile.py.
        task = self.night.tasks[self.full_command[4]]
        began = time.monotonic()
        code, out_of_memory = self.run_container(task)
        self.night.codes[task.stage] = code
        said = f"out of memory at {task.memory / 2**20:.0f} MiB" if code and out_of_memory else f"exit code {code}"
        print(f"{task.stage}: {said} after {time.monotonic() - began:.1f} s", flush=True)
        return Status.FAILURE if code else Status.SUCCESS

    def run_container(self, task: Task) -> tuple[int, bool]:
        """Run the container. Returns the exit code, and whether the limit of memory was hit."""
        program, *arguments = self.full_command
        client = DockerClient.from_env()
        container = client.containers.create(
            self.image,
            arguments,
            entrypoint=[program],
            environment=task.variables(),
            labels={LABEL: task.stage},
            **task.confinement(self.night.network),
        )
        try:
            container.start()
            for line in container.logs(stream=True, follow=True):
                print(line.decode(errors="replace"), end="", flush=True)
            code = int(container.wait()["StatusCode"])
            container.reload()
            return code, bool(container.attrs["State"]["OOMKilled"])
        finally:
            container.remove(force=True)
            client.close()


def read_tasks(path: Path) -> dict[str, Task]:
    """Return the tasks of a compiled pipeline by stage."""
    pipeline, platform = yaml.safe_load_all(path.read_text())
    extras = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    tasks = {}
    for label, executor in pipeline["deploymentSpec"]["executors"].items():
        container, extra = executor["container"], extras[label]
        stage = container["args"][0]
        tasks[stage] = Task(
            stage=stage,
            cpus=float(container["resources"]["resourceCpuLimit"]),
            memory=to_bytes(container["resources"]["resourceMemoryLimit"]),
            workspace=to_bytes(extra["emptyDirMounts"][0]["sizeLimit"]),
            environment={variable["name"]: variable["value"] for variable in container["env"]},
            secrets={
                key["envVar"]: bool(secret.get("optional"))
                for secret in extra.get("secretAsEnv", ())
                for key in secret["keyToEnv"]
            },
        )
    return tasks


def exit_pipeline(text: str) -> str:
    """Return the compiled pipeline with nothing left but its exit task; empty if it has none."""
    pipeline, platform = yaml.safe_load_all(text)
    tasks = pipeline["root"]["dag"]["tasks"]
    exits = {
        name: {key: value for key, value in task.items() if key not in ("dependentTasks", "triggerPolicy")}
        for name, task in tasks.items()
        if task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
    }
    pipeline["root"]["dag"]["tasks"] = exits
    return yaml.safe_dump_all([pipeline, platform]) if exits else ""


def run(path: Path, arguments: Mapping[str, Any]) -> Night:
    """Run a compiled pipeline to its end. Raises docker.errors.DockerException, BadConfiguration."""
    Container.night = night = Night(read_tasks(path), os.environ.get("NIGHTSTILL_DOCKER_NETWORK") or "bridge")
    for task in night.tasks.values():
        task.variables()
    docker_task_handler.DockerTaskHandler = Container
    with tempfile.TemporaryDirectory() as scratch:
        _run_locally(path.read_text(), arguments, scratch)
        opened = night.codes.get(PLAN) == 0
        if opened and night.failed and (left := exit_pipeline(path.read_text())):
            _run_locally(left, arguments, scratch)
    return night


def _run_locally(text: str, arguments: Mapping[str, Any], scratch: str) -> None:
    root = str(Path(scratch) / "outputs")
    workspace = tempfile.mkdtemp(dir=scratch)
    local.init(local.DockerRunner(), pipeline_root=root, workspace_root=workspace, raise_on_error=False)
    components.load_component_from_text(text)(**arguments)


def check_image(image: str) -> None:
    """Refuse to start without the image: no stage fetches one in the middle of a night. Raises DockerException."""
    client = DockerClient.from_env()
    with contextlib.closing(client):
        client.images.get(image)


def main(arguments: list[str]) -> int:
    """Run the command line of the module's text. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="local_run", description="Run a Kubeflow pipeline in local containers.")
    parser.add_argument("workload")
    parser.add_argument("--run-id", required=True, help="name of the run in the run store")
    parser.add_argument("--as-of", default="", help="last day of data, YYYY-MM-DD; default: yesterday")
    parser.add_argument("--force", action="store_true", help="run every stage even if nothing changed")
    parser.add_argument("--dry-run", action="store_true", help="stop short of the release")
    asked = parser.parse_args(arguments)
    given = {"as_of": asked.as_of, "force": asked.force, "dry_run": asked.dry_run, "run_id": asked.run_id}
    began = time.monotonic()
    try:
        settings = Settings.of(os.environ)
        path = write(asked.workload, home() / "kubeflow", Project.here(), settings)
        check_image(settings.image)
        night = run(path, given)
    except (UnknownWorkload, BadConfiguration) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ImageNotFound:
        print(f"error: the Docker Engine has no image {settings.image}; `make images` builds it", file=sys.stderr)
        return 75
    except DockerException as error:
        print(f"error: Docker: {error}", file=sys.stderr)
        return 75
    except KeyboardInterrupt:
        return 130
    for stage in night.tasks:
        if code := night.codes.get(stage, -1):
            print(f"error: {stage} {'did not run' if code < 0 else f'failed with exit code {code}'}", file=sys.stderr)
    said = "failed" if night.failed else "succeeded"
    print(f"run {asked.run_id} of {asked.workload} {said} after {time.monotonic() - began:.0f} s")
    return int(night.failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
