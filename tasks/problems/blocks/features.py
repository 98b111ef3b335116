"""A model's inner representation, for distillation that aligns more than outputs."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Featured(Protocol):
    """A model whose representation before the head can be read: an encoder's summary, or a hidden layer."""

    @property
    def feature_width(self) -> int:
        """Numbers that `features` gives for a row."""
        ...

    def features(self, *inputs: Tensor) -> Tensor:
        """(n, feature_width) of the contract's inputs in order."""
        ...

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The model's output and its features, computed once."""
        ...


class FeaturedModel(nn.Module):
    """A `Featured` model that has one path only: `with_features`, which forward and `features` take parts of."""

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.with_features(*inputs)[0]

    def features(self, *inputs: Tensor) -> Tensor:
        return self.with_features(*inputs)[1]
