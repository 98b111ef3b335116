"""This module reads the limits of a stage in a container: cores, memory, and room for its files.

Read from a workload's section by the DAGs too, so this module needs nothing but pydantic and PyYAML.
"""

import math
import re
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.core.config import explained
from tasks.core.machine import usable_cores

KEEP, LABEL, REFIT, REPEATED = "keep", "label", "refit", ("teach", "distil", "compress")
_FACTORS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"([1-9]\d*)(Ki|Mi|Gi|Ti)")

TRAINING, DIVIDED = (*REPEATED, REFIT, KEEP, LABEL), ("teach", "distil")
"""Stages of the first kinds compute in as many threads as the workload says; the second may have more processes."""


class ResourcesError(ValueError):
    """A `resources` section cannot be read; the message names the field and the way out."""


class Limits(BaseModel):
    """Limits hold for one container: `cpus` in cores, `memory` and `workspace` such as `512Mi` or `4Gi`.

    A stage's files lie in its workspace while it runs. Under Docker that is memory, and counts towards `memory`.
    `processes`: how many train a network side by side, within these limits. `nodes`: on how many machines, each with
    these limits and so many processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: float = Field(default=1.0, gt=0)
    memory: str = "4Gi"
    workspace: str = "2Gi"
    processes: int = Field(default=1, gt=0)
    nodes: int = Field(default=1, gt=0)

    @field_validator("memory", "workspace")
    @classmethod
    def _quantity(cls, value: str) -> str:
        to_bytes(value)
        return value

    def or_more(self, other: "Limits") -> "Limits":
        """Return the larger limits of both, for a container in which one follows the other."""
        return Limits(
            cpus=max(self.cpus, other.cpus),
            memory=max(self.memory, other.memory, key=to_bytes),
            workspace=max(self.workspace, other.workspace, key=to_bytes),
        )


def to_bytes(quantity: str) -> int:
    """Return the bytes of a quantity as Kubernetes writes them, in binary units. Raises ValueError."""
    match = _QUANTITY.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity; write a whole number and Ki, Mi, Gi or Ti, such as 4Gi")
    return int(match[1]) * _FACTORS[match[2]]


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the cores that this process may use: those it may run on, and no more than its container's `quota` says."""
    seen = usable_cores()
    try:
        most, period = quota.read_text().split()
        return min(seen, max(1, math.floor(int(most) / int(period))))
    except (OSError, ValueError):  # no such file, or the word `max`
        return seen


def side_by_side(jobs: int, threads: Any, processes: int = 1) -> int:
    """Return how many of `jobs` stages may run at once: their threads have a core each. One may in any case.

    `processes`: the most that one stage has, of so many threads each. `threads` that are no positive whole number,
    which a check refuses, count as one.
    """
    each = threads if isinstance(threads, int) and threads > 0 else 1
    return max(1, min(jobs, cores() // (each * processes)))


class Resources:
    """Resources are the limits of a workload's stages: by `default`, then by the stage's kind, then by one member.

    A section such as `{default: {memory: 2Gi}, teach: {cpus: 2}, "teach@lstm": {memory: 6Gi}}`. Besides the stages of
    dvc.yaml, the commands `fresh`, `plan` and `score` have limits. Raises ResourcesError.
    """

    def __init__(self, section: Mapping[str, Any] | None) -> None:
        self._section = dict(section or {})
        for name in self._section:
            told = self._merged([name])
            for field in ("processes", "nodes"):
                if field in told.model_fields_set and name.partition("@")[0] not in DIVIDED:
                    raise ResourcesError(f"resources.{name}.{field}: only {' and '.join(DIVIDED)} train with several")

    def of(self, stage: str) -> Limits:
        """Return the limits of one stage, by its full name.

        Of `refit`, `keep` and `label`, unless told, they are the largest of what these repeat or may repeat.
        """
        kind, _, member = stage.partition("@")
        if kind == KEEP:
            largest = reduce(Limits.or_more, map(self.of, ("snapshot", "validate", "features", f"teach@{member}")))
            return self._merged([kind, stage], largest.model_dump())
        if kind == LABEL:
            least = self._merged(["default"]).or_more(self.of(f"teach@{member}"))
            return self._merged([kind, stage], least.model_dump())
        if kind != REFIT:
            return self._merged(["default", kind, stage])
        members = (name for name in self._section if name.partition("@")[0] in REPEATED)
        largest = reduce(Limits.or_more, (self.of(name) for name in (*REPEATED, *members)))
        return self._merged([kind, stage], largest.model_dump())

    @property
    def processes(self) -> int:
        """Return the most processes that a stage has, on one machine where there are no more."""
        return max((each.processes * each.nodes for each in map(self.of, self._section)), default=1)

    @property
    def nodes(self) -> dict[str, int]:
        """Return on how many machines a stage runs, by the section's names; of those with more than one."""
        found = {name: self.of(name).nodes for name in self._section}
        return {name: nodes for name, nodes in found.items() if nodes > 1}

    def unknown(self, stages: set[str]) -> set[str]:
        """Return the section's names that fit none of these stages."""
        known = {"default", "fresh", "plan", "score", *stages, *(stage.partition("@")[0] for stage in stages)}
        return set(self._section) - known

    def _merged(self, names: list[str], base: Mapping[str, Any] | None = None) -> Limits:
        merged: dict[str, Any] = dict(base or {})
        for name in names:
            limits = self._section.get(name) or {}
            if not isinstance(limits, Mapping):
                raise ResourcesError(f"resources.{name}: expected cpus, memory, workspace, got {limits!r}")
            merged.update(limits)
        with explained(f"resources.{names[-1]}", raises=ResourcesError):
            return Limits.model_validate(merged)
