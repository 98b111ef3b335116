"""Stages run as containers of a Docker Engine: on this machine, or where DOCKER_HOST or a connection points."""

import contextlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from airflow.providers.docker.operators.docker import DockerOperator, fetch_logs
from airflow.sdk import Context
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from dags.runners.command import Command
from dags.runners.containers import (
    WORKSPACE,
    container_settings,
    out_of_memory,
    plain_environment,
    read_result,
    secret_environment,
)
from dags.runners.exits import complaint_of, fail, of_container
from tasks.pipeline.resources import to_bytes

LABEL = "io.nightstill.command"
STOP_SECONDS = 5


class DockerSettings(BaseSettings):
    """Settings come from Airflow's environment `NIGHTSTILL_DOCKER_…`."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSTILL_DOCKER_", frozen=True, extra="ignore")

    network: str = Field(default="bridge", description="network of the stages: S3 and MLflow must be reachable there")
    connection: str = Field(default="", description="Airflow connection of a private registry; empty: none")


@cache
def docker_settings() -> DockerSettings:
    """Return the settings of this process."""
    return DockerSettings()


class ContainerOperator(DockerOperator):
    """This runs `nightstill <arguments>` in a container of the task image, which is removed afterwards.

    The container has nothing of the host: a read-only root, a workspace in memory, no capabilities, no Docker socket,
    no folder of the project. Its inputs and results lie in S3; the XCom is read from the manifest there.
    """

    template_fields: Sequence[str] = ("arguments", "result")
    ui_color = "#d6eaf8"

    def __init__(self, *, command: Command, **kwargs: Any) -> None:
        settings = docker_settings()
        super().__init__(
            image=container_settings().task_image,
            docker_conn_id=settings.connection or None,
            network_mode=settings.network,
            mount_tmp_dir=False,
            auto_remove="force",
            **kwargs,
        )
        self.title, self.limits = command.name, command.limits
        self.arguments, self.result = list(command.arguments), command.result

    def execute(self, context: Context) -> Any:
        """Run the container to its end, passing its output on to the task's log."""
        self.command = [argument for argument in self.arguments if argument]
        self.environment = plain_environment()
        self._private_environment = secret_environment()
        run = context["dag_run"]
        self.labels = {LABEL: f"{run.dag_id}/{run.run_id}/{context['ti'].task_id}", "io.nightstill.stage": self.title}
        self.log.info("%s in %s, %s", " ".join(self.command), self.image, self.limits)
        return super().execute(context)

    def _run_image(self) -> dict[str, Any] | None:  # type: ignore[override]
        self._remove_leftovers()
        self.container = self.cli.create_container(
            image=self.image,
            command=self.command,
            environment={**self.environment, **self._private_environment},
            labels=self.labels,
            host_config=self.cli.create_host_config(**self._confinement()),
        )
        identity = self.container["Id"]
        try:
            output = self.cli.attach(container=identity, stdout=True, stderr=True, stream=True)
            self.cli.start(identity)
            lines = fetch_logs(output, self.log)
            code = int(self.cli.wait(identity)["StatusCode"])
            killed = bool(self.cli.inspect_container(identity)["State"]["OOMKilled"])
        finally:
            self.cli.remove_container(identity, force=True)
        self.container = {}
        if killed and code:
            raise out_of_memory(self.title, self.limits.memory)
        if code:
            fail(of_container(code), next(filter(None, map(complaint_of, reversed(lines))), ""))
        return read_result(self.result)

    def _confinement(self) -> dict[str, Any]:
        memory = to_bytes(self.limits.memory)
        return {
            "network_mode": self.network_mode,
            "nano_cpus": round(self.limits.cpus * 1e9),
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": 1024,
            "read_only": True,
            "tmpfs": {WORKSPACE: f"size={to_bytes(self.limits.workspace)},mode=1777"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # reaps what a stage starts, and passes signals on
        }

    def _remove_leftovers(self) -> None:
        """Remove the container that a killed worker could not remove; two attempts at one stage waste memory."""
        wanted = {"label": f"{LABEL}={self.labels[LABEL]}"}  # type: ignore[index,call-overload]
        for left in self.cli.containers(all=True, filters=wanted):
            self.log.warning("removing container %s of an earlier attempt", left["Id"][:12])
            self.cli.remove_container(left["Id"], force=True)

    def on_kill(self) -> None:
        """End the container when Airflow wants the task to end."""
        if self.container:
            with contextlib.suppress(Exception):
                self.cli.stop(self.container["Id"], timeout=STOP_SECONDS)
            with contextlib.suppress(Exception):
                self.cli.remove_container(self.container["Id"], force=True)
