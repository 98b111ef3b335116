"""A network of depth-wise separable convolutions: few weights, for students (MobileNets, arXiv:1704.04861)."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.vision.models.base import MappedModel, Normed, convolution


class SeparableOptions(Frozen):
    """`widths`: channels after the stem and after each block; where they grow, maps are half as large."""

    widths: tuple[int, ...] = Field(default=(16, 16, 32, 32, 64), min_length=2)


class SeparableBlock(nn.Module):
    """A block filters each channel for itself, then mixes them; of equal widths its input is added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        grows = outputs > inputs
        self.filter = Normed(convolution(inputs, inputs, 3, 2 if grows else 1, groups=inputs))
        self.mix = Normed(convolution(inputs, outputs, 1))
        self.adds = inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.mix(self.filter(maps))
        return found + maps if self.adds else found


class Separable(MappedModel):
    """Separable is a stem and blocks."""

    def __init__(self, options: SeparableOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.widths[-1])
        self.stem = Normed(convolution(contract.inputs["image"][1][2], options.widths[0]))
        self.blocks = nn.Sequential(*(SeparableBlock(*pair) for pair in pairwise(options.widths)))

    def body(self, numbers: Tensor) -> Tensor:
        found: Tensor = self.blocks(self.stem(numbers))
        return found


def build_separable(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return Separable(SeparableOptions.model_validate(dict(options)), contract)
