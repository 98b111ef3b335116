"""This module defines the recipes in a workload."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, Spec


class Limits(Frozen):
    """A searched candidate may measure at most these limits; a limit that is left out does not bind.

    `error` and `retention` (a ratio to the student's error before compression) are on the validation split,
    `latency_ratio` is p50 to the reference model's, `parity` the mean difference to torch relative to the mean output.
    """

    error: float | None = Field(default=None, gt=0)
    retention: float | None = Field(default=None, gt=0)
    bytes: int | None = Field(default=None, gt=0)
    parameters: int | None = Field(default=None, gt=0)
    latency_ratio: float | None = Field(default=None, gt=0)
    parity: float | None = Field(default=None, gt=0)


class Search(Frozen):
    """A Search looks for the steps that minimise one number within limits, by `trials` trials drawn from `space`.

    `space`: a step's kind and options, where two numbers are a range and another list is a choice, or `kind: numbers`
    with `choices` of number formats; empty for the default. `minutes`: a ceiling, kept below the stage's own time
    limit; a result that it cuts off depends on the clock. `seed`: None for the workload's. `batch`: rows a call when
    latency is measured. Of `reduction` trials about one is trained further.
    """

    limits: Limits
    minimise: Literal["bytes", "latency", "error"] = "bytes"
    trials: int = Field(default=30, gt=0, le=1000)
    minutes: float = Field(default=10, gt=0, le=25)
    space: tuple[Spec, ...] = ()
    seed: int | None = Field(default=None, ge=0)
    batch: int = Field(default=1, gt=0)
    reduction: int = Field(default=3, ge=2)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        """Require a limit on the other side: without one the worst model, or no compression at all, would be best."""
        limits = self.limits
        if self.minimise == "error":
            if limits.bytes is None and limits.parameters is None and limits.latency_ratio is None:
                raise ValueError("limits: minimise: error needs a limit on bytes, parameters or latency_ratio")
        elif limits.error is None and limits.retention is None:
            raise ValueError(f"limits: minimise: {self.minimise} needs a limit on error or retention")
        return self


class Recipe(Frozen):
    """A Recipe is a chain of compression steps, applied in order, or a search for one."""

    steps: tuple[Spec, ...] = ()
    search: Search | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.steps and self.search:
            raise ValueError("steps: a recipe has either steps or a search; remove one of them")
        return self
