"""What a compression step is: options, and a change to a torch model or to an ONNX graph."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import onnx
from pydantic import Field
from torch import nn

from tasks.core.config import Frozen
from tasks.problems.base import Inputs

Phase = Literal["structure", "rank", "sparsity", "numbers", "storage"]
PHASES: tuple[Phase, ...] = ("structure", "rank", "sparsity", "numbers", "storage")
"""Order in which steps work. Neurons and channels are known as such until their matrices are factored; both move the
weights that a sparsity mask points at; all of them need float32 weights, which are gone once numbers are narrower; and
how the numbers are laid down in the file comes last."""

AfterStep = Callable[[nn.Module], None]
Rows = Callable[[int], Inputs]
"""Inputs of so many training rows."""


class FineTune(Protocol):
    """Trains a model in place for a few epochs on the student's own loss."""

    def __call__(
        self, model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None
    ) -> None: ...


class Step(Frozen):
    """Base of all steps: a frozen model of its options. `kind` is its name in params.yaml.

    `packable`: whether a weight that is zero is stored in a way that `bitmask` can leave out.
    """

    kind: ClassVar[str]
    phase: ClassVar[Phase]
    packable: ClassVar[bool] = True


class TorchStep(Step):
    """Changes the model's weights. `epochs`: of fine-tuning, at `learning_rate_factor` x the student's rate."""

    epochs: int = Field(default=3, ge=0)
    learning_rate_factor: float = Field(default=0.3, gt=0)

    @abstractmethod
    def apply(self, model: nn.Module, tune: FineTune, calibration: Rows) -> AfterStep | None:
        """Compress `model` in place and fine-tune it.

        What is returned restores the step's work after every training step of the steps that follow.
        """


class GraphStep(Step):
    """Changes the exported graph."""

    @abstractmethod
    def apply(self, model: onnx.ModelProto, calibration: Rows) -> onnx.ModelProto:
        """The compressed graph; `model` may be changed."""


def also(tune: FineTune, restore: AfterStep) -> FineTune:
    """`tune`, with `restore` after each of its training steps, behind the step's own."""

    def tuned(model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None) -> None:
        def both(trained: nn.Module) -> None:
            if after_step is not None:
                after_step(trained)
            restore(trained)

        tune(model, epochs, learning_rate_factor, both)

    return tuned
