"""Structured pruning: whole hidden neurons leave the network, so that its matrices and its file really shrink."""

from typing import Protocol, runtime_checkable

from pydantic import Field
from torch import nn

from tasks.compression.step import FineTune, Rows, TorchStep
from tasks.compression.units import keep_most_important
from tasks.errors import ConfigError


@runtime_checkable
class Prunable(Protocol):
    """A model that can lose hidden neurons."""

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """(producer, consumer) pairs: neuron i is output i of the one and input i of the other, and of nothing else.

        Between them there are only functions that work on each neuron alone.
        """
        ...


class Neurons(TorchStep):
    """`keep`: share of the hidden neurons of each layer that stays (rounded, at least one)."""

    kind = "neurons"
    phase = "structure"
    keep: float = Field(gt=0, lt=1)

    def apply(self, model: nn.Module, tune: FineTune, calibration: Rows) -> None:
        """Remove the least important neurons, then fine-tune what is left. Raises ConfigError if there are none."""
        pairs = model.prunable() if isinstance(model, Prunable) else []
        if not pairs:
            raise ConfigError(
                f"step neurons: model {type(model).__name__} has no hidden neurons to remove; drop the step"
            )
        for producer, consumer in pairs:
            keep_most_important([producer], [consumer], self.keep)
        if self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)
