"""A compression step has options, and changes a torch model or an ONNX graph."""

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
"""People should write steps in this order of groups; the traits that steps need and leave decide."""

Trait = Literal[
    "float weights",
    "hidden neurons",
    "channels",
    "item vectors",
    "token vectors",
    "linear layers",
    "products",
    "whole",
    "dense",
    "zeros",
]
TRAITS: dict[Trait, str] = {
    "float weights": "weights in float32",
    "hidden neurons": "hidden neurons that can leave",
    "channels": "channels of convolutions that can leave",
    "item vectors": "vectors of a catalogue's items",
    "token vectors": "vectors of tokens that can leave",
    "linear layers": "linear layers that can be replaced",
    "products": "products with a stored matrix",
    "whole": "matrices that are neither factored nor masked",
    "dense": "weights without a mask",
    "zeros": "pruned weights that are stored as zero",
}
"""Steps work on models or graphs with these traits, as people read them."""
ALL: frozenset[Trait] = frozenset(TRAITS)
NETWORK: frozenset[Trait] = ALL - {"hidden neurons", "channels", "token vectors", "whole"}
"""These traits are left once matrices are changed one by one: it is forgotten which belong to one neuron."""

AfterStep = Callable[[nn.Module], None]
Calibration = Callable[[int], Inputs]
"""A calibration returns the inputs of so many training rows."""


class FineTune(Protocol):
    """FineTune trains a model in place for a few epochs on the student's own loss.

    It returns after how many of them the kept weights were; 0: it was no better, and undone.
    """

    def __call__(
        self, model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None
    ) -> int: ...


class Step(Frozen):
    """A Step is the base of all steps: a frozen model of its options. `kind` is its name in params.yaml.

    `needs`: the traits that what it works on must have; `leaves`: of those that it had, the ones that it still has
    afterwards. By these a chain that cannot work is refused before anything is trained.
    """

    kind: ClassVar[str]
    phase: ClassVar[Phase]
    needs: ClassVar[frozenset[Trait]]
    leaves: ClassVar[frozenset[Trait]]


class TorchStep(Step):
    """A TorchStep changes the model's weights.

    `epochs`: of fine-tuning, at `learning_rate_factor` x the student's rate.
    """

    epochs: int = Field(default=3, ge=0)
    learning_rate_factor: float = Field(default=0.3, gt=0)

    def require(self, model: nn.Module) -> None:
        """Raise ConfigError when the step cannot be applied to a model of this shape, told before any is trained."""

    @abstractmethod
    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> AfterStep | None:
        """Compress `model` in place and fine-tune it.

        What is returned restores the step's work after every training step of the steps that follow.
        """


class GraphStep(Step):
    """A GraphStep changes the exported graph."""

    @abstractmethod
    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        """Return the compressed graph; `model` may be changed."""


def also(tune: FineTune, restore: AfterStep) -> FineTune:
    """Return `tune`, with `restore` after each of its training steps, behind the step's own."""

    def tuned(model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None) -> int:
        def both(trained: nn.Module) -> None:
            if after_step is not None:
                after_step(trained)
            restore(trained)

        return tune(model, epochs, learning_rate_factor, both)

    return tuned
