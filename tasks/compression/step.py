"""What a compression step is: options, and a change to a torch model or to an ONNX graph."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import onnx
from pydantic import Field
from torch import nn

from tasks.config import Frozen
from tasks.problems.base import Inputs

Phase = Literal["structure", "sparsity", "numbers"]
PHASES: tuple[Phase, ...] = ("structure", "sparsity", "numbers")
"""Order in which steps work: removing neurons moves the weights that a sparsity mask points at, and both need torch's
float32 weights, which are gone once the exported numbers are narrower."""


class FineTune(Protocol):
    """Trains a model in place for a few epochs on the student's own loss."""

    def __call__(
        self,
        model: nn.Module,
        epochs: int,
        learning_rate_factor: float,
        after_step: Callable[[nn.Module], None] | None = None,
    ) -> None: ...


class Step(Frozen):
    """Base of all steps: a frozen model of its options. `kind` is its name in params.yaml."""

    kind: ClassVar[str]
    phase: ClassVar[Phase]


class TorchStep(Step):
    """Changes the model's weights. `epochs`: of fine-tuning, at `learning_rate_factor` x the student's rate."""

    epochs: int = Field(default=3, ge=0)
    learning_rate_factor: float = Field(default=0.3, gt=0)

    @abstractmethod
    def apply(self, model: nn.Module, tune: FineTune) -> None:
        """Compress `model` in place and fine-tune it."""


class GraphStep(Step):
    """Changes the exported graph."""

    @abstractmethod
    def apply(self, model: onnx.ModelProto, calibration: Callable[[int], Inputs]) -> onnx.ModelProto:
        """The compressed graph; `model` may be changed. `calibration(n)`: inputs of n training rows."""
