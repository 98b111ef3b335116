"""A runner starts a command: as a process, in a Docker container, or in a Kubernetes pod."""

import os
from typing import Any

from airflow.sdk import BaseOperator

from dags.runners.command import Command
from tasks.core.params import Section

RUNNERS = ("process", "docker", "kubernetes")


def run_command(section: Section, command: Command, **kwargs: Any) -> BaseOperator:
    """Make a task that runs a command by the workload's runner. Raises ValueError as `operator_of`."""
    task: BaseOperator = operator_of(section, command.limits.nodes, command.name)(command=command, **kwargs)
    return task


def runner_of(section: Section) -> str:
    """Return the name of the runner that the workload's section names, or else NIGHTSTILL_RUNNER."""
    return section.get("runner") or os.environ.get("NIGHTSTILL_RUNNER") or "process"


def operator_of(section: Section, nodes: int = 1, name: str = "") -> type[Any]:
    """Return the operator of the workload's runner, for the command `name` on so many machines.

    Raises ValueError on a runner that there is none of, or that has one machine and shall use several; that, or
    settings that a runner cannot work with, shows as an import error of the DAG.
    """
    runner = runner_of(section)
    if nodes > 1 and runner in ("process", "docker"):
        raise ValueError(
            f"{name}: {nodes} nodes, but the runner {runner} has one machine; set runner: kubernetes, or "
            f"resources.{name.partition('/')[2]}.nodes: 1 with more processes"
        )
    match runner:
        case "process":
            from dags.runners.process import ProcessOperator

            return ProcessOperator
        case "docker":
            from dags.runners.docker import ContainerOperator

            return ContainerOperator
        case "kubernetes" if nodes > 1:
            from dags.runners.trainjob import TrainJobOperator

            return TrainJobOperator
        case "kubernetes":
            from dags.runners.kubernetes import PodOperator

            return PodOperator
        case _:
            raise ValueError(f"runner {runner!r}: there is no such runner; there are: {', '.join(RUNNERS)}")
