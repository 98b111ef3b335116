"""`params.yaml` holds what people edit, one section for each workload."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.compression.options import Recipe
from tasks.config.preference import Preference, spelled_out
from tasks.core.approval import Approval
from tasks.core.config import Frozen, Name, Spec, explained
from tasks.core.errors import ConfigError
from tasks.core.params import DEADLINE_MINUTES, POLL_MINUTES, Found, find_sections
from tasks.distillation.options import Student, Teacher
from tasks.gates.options import Gates
from tasks.pipeline.resources import Resources
from tasks.tables.validation.options import Checks
from tasks.watching.options import Watch

TRAINED = {"teachers": "teach", "students": "distil"}
DIVISION = ("processes", "nodes")
"""Of a network's training, by its `resources`."""


class SourceSpec(Spec):
    """A source spec is the `source` section. A night's waiting time changes no result, so it stands in no run.yaml."""

    wait_minutes: float = Field(default=0, exclude=True, description="after the night's time; 0: it does not wait")
    poll_minutes: float = Field(default=POLL_MINUTES, exclude=True, description="between two looks for the data")


class Upstream(Frozen):
    """An upstream asset is a schedule without an hour: nights start when the asset is updated."""

    asset: str

    def __str__(self) -> str:
        return f"asset {self.asset}"


class Workload(Frozen):
    """A workload is one section of params.yaml or of a file in `workloads/`. Without `schedule` it is run by hand."""

    title: str
    description: str = ""
    owner: str = "ml-platform"
    schedule: str | Upstream | None = None
    timezone: str = "UTC"
    deadline_minutes: int = Field(default=DEADLINE_MINUTES, gt=0)
    seed: int = 7
    threads: int = Field(default=1, gt=0)
    folds: int = Field(default=3, ge=1)
    source: SourceSpec
    problem: Spec
    checks: Checks = Checks()
    teachers: dict[Name, Teacher] = Field(min_length=1)
    ensemble: Literal["mean", "validation"] = Field(default="mean", description="how the teachers are weighed")
    students: dict[Name, Student] = Field(min_length=1)
    recipes: dict[Name, Recipe] = Field(min_length=1)
    # Left out of files where it is the default: those of releases before it say the same.
    refit: Literal["newest"] | None = Field(
        default=None, exclude_if=lambda rows: rows is None, description="None: what was chosen is not trained again"
    )
    prefer: Preference | None = Field(default=None, exclude=True, description="spelled out where it is read")
    gates: Gates
    approval: Approval | None = Field(default=None, description="None: what passes its gates is released")
    shadow_nights: int = Field(
        default=0,
        ge=0,
        le=90,
        exclude=True,
        description="beside the champion, before a release; 0: none. Runs say it by their answer, no run.yaml has it",
    )
    watch: Watch = Field(default=Watch(), exclude=True, description="changes no night, so it stands in no run.yaml")
    runner: Literal["process", "docker", "kubernetes"] | None = Field(default=None, description="None: the setting's")
    resources: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, data: Any) -> Any:
        return spelled_out(data)

    @model_validator(mode="before")
    @classmethod
    def _processes(cls, data: Any) -> Any:
        """Say of each network how many processes train it, on how many machines.

        `resources` stand in no lock, a network's section does.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("resources"), Mapping):
            return data
        try:
            resources = Resources(data["resources"])
        except ValueError:
            return data  # told below
        parts = {part: stage for part, stage in TRAINED.items() if isinstance(data.get(part), Mapping)}
        return {**data, **{part: _with_processes(data[part], stage, resources) for part, stage in parts.items()}}

    @model_validator(mode="after")
    def _trained_by(self) -> Self:
        resources = Resources(self.resources)
        for part, stage in TRAINED.items():
            for name, item in getattr(self, part).items():
                limits = resources.of(f"{stage}@{name}")
                for field in DIVISION:
                    if getattr(item, field) != getattr(limits, field):
                        raise ValueError(f"{part}.{name}.{field}: say it in resources.{stage}@{name}.{field}")
                if limits.nodes > 1 and self.runner not in (None, "kubernetes"):
                    raise ValueError(
                        f"resources.{stage}@{name}.nodes: the runner {self.runner} has one machine; set runner: "
                        "kubernetes, or more processes instead"
                    )
                wanted = limits.processes * self.threads
                if limits.processes > 1 and "cpus" in limits.model_fields_set and wanted > limits.cpus:
                    raise ValueError(
                        f"resources.{stage}@{name}.processes: {limits.processes} processes of {self.threads} threads "
                        f"need {wanted} cores, its cpus are {limits.cpus:g}; raise cpus or lower one of both"
                    )
        return self

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        if self.refit in self.recipes:
            raise ValueError(f"recipes.{self.refit}: refit gives its candidate this name; call the recipe another one")
        return self

    @field_validator("resources")
    @classmethod
    def _resources(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        Resources(value)
        return value


def _with_processes(members: Mapping[str, Any], stage: str, resources: Resources) -> dict[str, Any]:
    found = {}
    for name, item in members.items():
        limits = resources.of(f"{stage}@{name}")
        told = {field: getattr(limits, field) for field in DIVISION if getattr(limits, field) > 1}
        found[name] = {**told, **item} if isinstance(item, Mapping) else item
    return found


def load_workloads(path: Path | str) -> dict[str, Workload]:
    """Return all workloads of a params.yaml and of `workloads/` beside it, by name.

    Raises ConfigError naming the file, the field and what is wrong with it.
    """
    return {name: parsed(name, found) for name, found in find_sections(path).items()}


def load_workload(path: Path | str, name: str) -> Workload:
    """Return one workload; the others are read, but not validated further. Raises ConfigError on an unknown name."""
    return parsed(name, find_workload(path, name))


def find_workload(path: Path | str, name: str) -> Found:
    """Return one workload's section and where it stands. Raises ConfigError on an unknown name."""
    sections = find_sections(path)
    if name not in sections:
        raise ConfigError(f"{path}: no workload {name!r}; there are: {', '.join(sorted(sections))}")
    return sections[name]


def parsed(name: str, found: Found) -> Workload:
    """Return a section as a workload. Raises ConfigError naming file and field."""
    with explained(f"{found.file}: workloads.{name}"):
        return Workload.model_validate(found.section)
