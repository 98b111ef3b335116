"""A model's inner representation, for distillation that aligns more than outputs."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

STUDENT_INPUTS = ("history", "future", "static")
ALL_INPUTS = (*STUDENT_INPUTS, "past", "calendar")


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
    """A `Featured` model that has one path only: `with_features`, which forward and `features` take parts of.

    `uses`: the contract's inputs that it takes, in order; those that students make do with unless it says more.
    """

    uses: tuple[str, ...] = STUDENT_INPUTS

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.with_features(*inputs)[0]

    def features(self, *inputs: Tensor) -> Tensor:
        return self.with_features(*inputs)[1]


def inputs_of(model: nn.Module, names: Iterable[str]) -> tuple[str, ...]:
    """Names of the inputs that a model takes, in order: all `names` of the contract unless it says which it uses."""
    uses: tuple[str, ...] = getattr(model, "uses", tuple(names))
    return uses
