"""This step prunes convolutions by structure: whole channels leave, so that the network's kernels and file shrink."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pydantic import Field
from torch import nn

from tasks.compression.narrowing import Layer, Norm, keep_most_important
from tasks.compression.step import ALL, Calibration, FineTune, TorchStep
from tasks.core.errors import ConfigError


@runtime_checkable
class ChannelPrunable(Protocol):
    """A ChannelPrunable model can lose channels."""

    def channels(self) -> Sequence[tuple[Sequence[Layer | Norm], Sequence[Layer]]]:
        """Return (producers, consumers) of each set of channels that may shrink.

        Channel i is output i of every producer and input i of every consumer, and of nothing else; layers that add to
        one residual stream belong together, and a batch normalisation with the layer before it. Between them there
        are only functions that work on each channel alone.
        """
        ...


class Channels(TorchStep):
    """`keep` is the share of the channels of each set that stays (rounded, at least one)."""

    kind = "channels"
    phase = "structure"
    needs = frozenset({"float weights", "channels"})
    leaves = ALL - {"channels"}
    keep: float = Field(gt=0, lt=1)

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Remove the least important channels, then fine-tune the rest. Raises ConfigError if there are none."""
        sets = model.channels() if isinstance(model, ChannelPrunable) else []
        if not sets:
            raise ConfigError(f"step channels: model {type(model).__name__} has no channels to remove; drop the step")
        for producers, consumers in sets:
            keep_most_important(producers, consumers, self.keep)
        if self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)
