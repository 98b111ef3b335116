"""This module reads the settings of a compiled pipeline, and the project that it is compiled from."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tasks.core.errors import ConfigError
from tasks.core.params import SHOWN_SETTING, load_sections, params_place, shown
from tasks.pipeline.graph import Graph, load_graph
from tasks.pipeline.handover.surroundings import SECRETS, plain_variables

NEEDED_SECRETS = SECRETS[:2]
T = TypeVar("T")


class UnknownWorkload(Exception):
    """params.yaml has no such section."""

    exit_code = 64


class BadConfiguration(Exception):
    """A setting, params.yaml or dvc.yaml is wrong."""

    exit_code = 78


@dataclass(frozen=True)
class Settings:
    """Settings come from the environment `NIGHTSTILL_…` at compile time.

    `secret` names the Kubernetes Secret whose keys are the variables of SECRETS and of `NIGHTSTILL_STAGE_VARIABLES`;
    empty where a role of the pods' service account opens the stores.
    """

    image: str
    environment: Mapping[str, str]
    secret: str
    further_variables: tuple[str, ...]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings of an environment. Raises BadConfiguration on a store that containers cannot share."""
        try:
            found = plain_variables(environment)
        except ConfigError as error:
            raise BadConfiguration(str(error)) from None
        return cls(
            image=environment.get("NIGHTSTILL_TASK_IMAGE") or "nightstill-task:latest",
            environment=found,
            secret=environment.get("NIGHTSTILL_KUBEFLOW_SECRET", "nightstill"),
            further_variables=tuple(environment.get("NIGHTSTILL_STAGE_VARIABLES", "").split()),
        )


@dataclass(frozen=True)
class Project:
    """A project is params.yaml, workloads/ and dvc.yaml of one folder."""

    root: Path

    @classmethod
    def here(cls) -> "Project":
        """Return the folder that NIGHTSTILL_PROJECT names, or this checkout."""
        return cls(Path(os.environ.get("NIGHTSTILL_PROJECT") or Path(__file__).parents[2]).absolute())

    def workloads(self) -> dict[str, Mapping[str, Any]]:
        """Return all sections by workload; the stages validate their fields. Raises BadConfiguration."""
        try:
            return load_sections(params_place(self.root))
        except ConfigError as error:
            raise BadConfiguration(str(error)) from error

    def shown(self) -> dict[str, Mapping[str, Any]]:
        """Return those that are compiled unless others are named: of params.yaml and of NIGHTSTILL_WORKLOADS."""
        try:
            return shown(params_place(self.root), os.environ.get(SHOWN_SETTING, ""))
        except ConfigError as error:
            raise BadConfiguration(str(error)) from error

    def section(self, workload: str) -> Mapping[str, Any]:
        """Return one section. Raises UnknownWorkload, BadConfiguration."""
        sections = self.workloads()
        if workload not in sections:
            raise UnknownWorkload(
                f"no workload {workload!r} in params.yaml, nor one of workloads/ that {SHOWN_SETTING} names; "
                f"there are: {', '.join(sorted(sections))}"
            )
        return sections[workload]

    def graph(self, section: Mapping[str, Any]) -> Graph:
        """Return the stages of one workload. Raises BadConfiguration."""
        return self._read("dvc.yaml", lambda text: load_graph(text, section))

    def _read(self, name: str, parse: Callable[[str], T]) -> T:
        try:
            return parse((self.root / name).read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())
            raise BadConfiguration(said if said.startswith(name) else f"{name}: {said}") from error


def home() -> Path:
    """Return the folder of this module's outputs."""
    return Path(os.environ.get("NIGHTSTILL_HOME") or Project.here().root / ".nightstill").absolute()
