"""This module keeps one trial of a search for a search that is continued, and tells people about it."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, Field

from tasks.compression.chain import STEPS
from tasks.compression.search.limits import Measured
from tasks.core.config import Frozen, Spec


class Rung(Frozen):
    """A Rung holds a trial's measurements after fine-tuning of at most `epochs` a step, `spent` in all."""

    epochs: int
    spent: int
    error: float
    bytes: int
    parameters: int
    parity: float


class Trial(Frozen):
    """A Trial is a point that was tried. `full`: epochs that training it to the end would have spent.

    `latency_ratio`, `p50_us` and `seconds` are a clock's and stay out of locks. `reported`, `notes`: Optuna's own.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    number: int
    point: dict[str, int]
    steps: tuple[Spec, ...]
    state: Literal["complete", "pruned"]
    rungs: tuple[Rung, ...]
    full: int
    latency_ratio: float
    p50_us: float
    seconds: float
    reported: dict[int, float] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)

    @property
    def measured(self) -> Measured:
        """Return the measurements at the last rung that it reached."""
        last = self.rungs[-1]
        return Measured(last.error, last.bytes, last.parameters, last.parity, self.latency_ratio)

    @property
    def numbers(self) -> str:
        """Return the number format."""
        return next((step.kind for step in self.steps if STEPS[step.kind].phase == "numbers"), "none")

    @property
    def spent(self) -> int:
        """Return the epochs of fine-tuning."""
        return sum(rung.spent for rung in self.rungs)

    def __str__(self) -> str:
        steps = " + ".join(map(describe, self.steps)) or "as it is"
        last = self.rungs[-1]
        return f"{steps}: error {last.error:.6g}, {last.bytes:,} bytes, {self.spent} epochs, {self.state}"


def describe(step: Spec) -> str:
    """Return a step and its options in a few words."""
    return " ".join([step.kind, *(f"{name} {value}" for name, value in step.options.items())])


class Shelf(Protocol):
    """A Shelf keeps trials: in an object store, or in nothing but memory."""

    def read(self, key: str) -> bytes:
        """Read the bytes at `key`. Raises KeyError when there are none."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Replace `key`, atomically."""
        ...


@dataclass(frozen=True)
class Memory:
    """Memory is a shelf that ends with the process."""

    objects: MutableMapping[str, bytes] = field(default_factory=dict)

    def read(self, key: str) -> bytes:
        return self.objects[key]

    def write(self, key: str, data: bytes) -> None:
        self.objects[key] = data


class Kept(Frozen):
    """Kept is a trial on the shelf. `fingerprint`: of the search that it belongs to."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    fingerprint: str
    trial: Trial


def key(number: int) -> str:
    """Return the key at which trial `number` is kept."""
    return f"trial-{number:04}.json"
