"""A residual network of any depth and width (He et al. 2016, arXiv:1512.03385), with a stem for small images too."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.vision.models.base import MappedModel, Normed, convolution

DEPTHS: Mapping[int, tuple[tuple[int, ...], int, bool]] = {
    **{6 * count + 2: ((count,) * 3, 16, False) for count in (1, 2, 3, 5, 7, 9, 18)},
    18: ((2, 2, 2, 2), 64, False),
    34: ((3, 4, 6, 3), 64, False),
    50: ((3, 4, 6, 3), 64, True),
    101: ((3, 4, 23, 3), 64, True),
}
"""Depth in layers -> blocks a stage, width of the first stage, bottlenecks. 8 … 110 are those for small images."""
EXPANSION = 4
SMALL = 64


class ResNetOptions(Frozen):
    """`depth`: of a network in the literature, such as 18, 20 or 50; or `blocks` of each stage, `width` of the first.

    Each further stage is twice as wide, of maps half as large. `bottleneck`: blocks of 1 × 1, 3 × 3, 1 × 1. `stem`:
    `small` keeps the image's size, `large` makes a quarter of it; auto: small up to 64 pixels.
    """

    depth: int | None = None
    blocks: tuple[int, ...] = ()
    width: int | None = Field(default=None, gt=0)
    bottleneck: bool | None = None
    stem: Literal["auto", "small", "large"] = "auto"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.depth is not None and self.depth not in DEPTHS:
            raise ValueError(f"depth: {self.depth} is none of {', '.join(map(str, sorted(DEPTHS)))}; or name blocks")
        if self.depth is not None and self.blocks:
            raise ValueError("blocks: depth says how many there are; leave one of both out")
        if any(count < 1 for count in self.blocks):
            raise ValueError("blocks: each stage has one at least")
        return self

    def plan(self) -> tuple[tuple[int, ...], int, bool]:
        """Return blocks a stage, width of the first stage, bottlenecks."""
        blocks, width, bottleneck = (
            DEPTHS[self.depth or 20] if self.depth or not self.blocks else (self.blocks, 16, False)
        )
        return blocks, self.width or width, bottleneck if self.bottleneck is None else self.bottleneck


class Block(nn.Module):
    """A Block adds what its convolutions find to its input; at first that is nothing."""

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        outputs = width * EXPANSION if bottleneck else width
        if bottleneck:
            layers = [
                Normed(convolution(inputs, width, 1)),
                Normed(convolution(width, width, 3, stride)),
                Normed(convolution(width, outputs, 1), active=False, zero=True),
            ]
        else:
            layers = [
                Normed(convolution(inputs, width, 3, stride)),
                Normed(convolution(width, outputs, 3), active=False, zero=True),
            ]
        self.layers = nn.Sequential(*layers)
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else Normed(convolution(inputs, outputs, 1, stride), active=False)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.layers(maps) + self.skip(maps))

    def channels(self) -> list[tuple[list[nn.Conv2d | nn.BatchNorm2d], list[nn.Conv2d]]]:
        """Return (producers, consumers) of the channels within the block; those of the sums stay."""
        layers = [layer for layer in self.layers if isinstance(layer, Normed)]
        return [([one.layer, one.norm], [following.layer]) for one, following in pairwise(layers)]


class ResNet(MappedModel):
    """A ResNet is a stem and stages of blocks."""

    def __init__(self, options: ResNetOptions, contract: FeatureContract) -> None:
        blocks, width, bottleneck = options.plan()
        expansion = EXPANSION if bottleneck else 1
        super().__init__(contract, width * 2 ** (len(blocks) - 1) * expansion)
        height, columns, channels = contract.inputs["image"][1]
        large = options.stem == "large" or (options.stem == "auto" and max(height, columns) > SMALL)
        self.stem = (
            nn.Sequential(Normed(convolution(channels, width, 7, 2)), nn.MaxPool2d(3, 2, 1))
            if large
            else Normed(convolution(channels, width, 3))
        )
        stages: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(blocks):
            for place in range(count):
                stride = 2 if stage and not place else 1
                stages.append(Block(inputs, width * 2**stage, stride, bottleneck=bottleneck))
                inputs = width * 2**stage * expansion
        self.stages = nn.Sequential(*stages)

    def body(self, numbers: Tensor) -> Tensor:
        found: Tensor = self.stages(self.stem(numbers))
        return found

    def channels(self) -> list[tuple[list[nn.Conv2d | nn.BatchNorm2d], list[nn.Conv2d]]]:
        """Return (producers, consumers) of the channels that may leave: those within blocks."""
        return [pair for block in self.stages if isinstance(block, Block) for pair in block.channels()]


def build_resnet(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return ResNet(ResNetOptions.model_validate(dict(options)), contract)
