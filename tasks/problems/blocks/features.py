"""A model can show its inner representation, for distillation that aligns more than outputs."""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

Shown = Literal["features", "attention"]
"""What a term of distillation compares."""


@runtime_checkable
class Featured(Protocol):
    """A Featured model shows its representation before the head: an encoder's summary, or a hidden layer."""

    @property
    def feature_width(self) -> int:
        """Return how many numbers `features` gives for a row."""
        ...

    def features(self, *inputs: Tensor) -> Tensor:
        """Return (n, feature_width) features of the contract's inputs in order."""
        ...

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the model's output and its features, computed once."""
        ...


@runtime_checkable
class Attentive(Featured, Protocol):
    """An Attentive model shows where in its input it found its features, too."""

    def attention(self, *inputs: Tensor) -> Tensor:
        """Return (n, places) shares of strength, of norm 1: the same places in every model of a problem."""
        ...

    def with_attention(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return output, features and attention, computed once."""
        ...


class FeaturedModel(nn.Module):
    """A FeaturedModel has one path only: `with_features`, of which forward and `features` take parts."""

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.with_features(*inputs)[0]

    def features(self, *inputs: Tensor) -> Tensor:
        return self.with_features(*inputs)[1]


def shows(model: nn.Module, of: Shown) -> bool:
    """Return whether the model is `Featured`, or `of` attention `Attentive`."""
    return isinstance(model, Attentive if of == "attention" else Featured)
