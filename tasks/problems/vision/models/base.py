"""A network of images turns bytes into numbers, computes features by convolutions, and classes of these."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import MAP_PLACES, FeaturedModel, Shown
from tasks.problems.vision.options import IMAGE

GRID, COARSE = 8, math.isqrt(MAP_PLACES)
"""Attention has so many places each way, and maps."""


class Standardise(nn.Module):
    """It maps bytes (n, height, width, channels) to numbers (n, channels, height, width), less mean, over scale.

    As a part of the graph it lets released bytes take images as they are read. Channels stay innermost in memory, which
    is how convolutions on a processor are fastest.
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        mean, scale = (torch.tensor(contract.statistics[name], dtype=torch.float32) for name in ("mean", "scale"))
        self.register_buffer("shift", (mean / scale).view(-1, 1, 1))
        self.register_buffer("factor", (1 / (255 * scale)).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2).float() * self.factor - self.shift


class ImageModel(FeaturedModel):
    """An ImageModel's `body` maps numbers (n, channels, height, width) to maps, of which `summary` makes features."""

    def __init__(self, contract: FeatureContract, width: int) -> None:
        super().__init__()
        self.uses = (IMAGE,)
        self.standardise = Standardise(contract)
        self.output = nn.Linear(width, contract.output_shape[0])

    def body(self, numbers: Tensor) -> Tensor:
        """Return (n, width, rows, columns) maps."""
        raise NotImplementedError

    def summary(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, width) features and the maps that they are the means of."""
        maps = self.body(numbers)
        return maps.mean(dim=(2, 3)), maps

    def answer(self, features: Tensor) -> Tensor:
        """Return the output by the features."""
        found: Tensor = self.output(features)
        return found

    @property
    def feature_width(self) -> int:
        """Return the width of the features."""
        return int(self.output.in_features)

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        features, _ = self.summary(self.standardise(inputs[0]))
        return self.answer(features), features


class MappedModel(ImageModel):
    """A MappedModel shows its last maps, and their attention, as well.

    Attention is the mean square of a place's channels (Zagoruyko & Komodakis 2017, arXiv:1612.03928). Both are on a
    grid of their own, so that maps of other sizes can be compared and a row keeps few numbers.
    """

    def with_maps(self, *inputs: Tensor) -> tuple[Tensor, Mapping[Shown, Tensor]]:
        """Return output, and of what is shown (n, GRID * GRID) attention of norm 1 and (n, width * COARSE²) maps."""
        features, maps = self.summary(self.standardise(inputs[0]))
        maps = maps.float()
        strength = functional.adaptive_avg_pool2d(maps.square().mean(dim=1, keepdim=True), GRID)
        shown: dict[Shown, Tensor] = {
            "features": features,
            "attention": functional.normalize(strength.flatten(1), dim=1),
            "maps": functional.adaptive_avg_pool2d(maps, COARSE).flatten(1),
        }
        return self.answer(features), shown


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, whose maps are as large as its input, or by `stride` smaller."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Normed(nn.Module):
    """Normed is a convolution and a batch normalisation, which is part of the convolution in an exported file."""

    def __init__(self, layer: nn.Conv2d, *, active: bool = True, zero: bool = False) -> None:
        super().__init__()
        self.layer, self.norm, self.active = layer, nn.BatchNorm2d(layer.out_channels), active
        if zero:
            nn.init.zeros_(self.norm.weight)

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.norm(self.layer(maps))
        return functional.relu(found) if self.active else found
