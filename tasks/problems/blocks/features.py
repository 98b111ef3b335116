"""A model can show its inner representation, for distillation that aligns more than outputs."""

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

Shown = Literal["features", "attention", "maps"]
"""What a term of distillation compares."""
MAP_PLACES = 4 * 4
"""Maps are shown on a grid of so many places."""


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
class Mapped(Featured, Protocol):
    """A Mapped model has its features from maps of its input, and shows these, too.

    `attention`: (n, places) shares of strength, of norm 1. `maps`: (n, feature_width * MAP_PLACES), a
    channel's places beside each other. Both have the same places in every model of a problem.
    """

    def with_maps(self, *inputs: Tensor) -> tuple[Tensor, Mapping[Shown, Tensor]]:
        """Return the output and all that it shows, computed once."""
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
    """Return whether the model is `Featured`, or of attention and maps `Mapped`."""
    return isinstance(model, Featured if of == "features" else Mapped)
