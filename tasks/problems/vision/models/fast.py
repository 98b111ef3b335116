"""A narrow network that learns small images fast, after airbench (Jordan 2024, arXiv:2404.00498).

Taken from there: three groups of two convolutions with pooling, GELU, batch normalisation that follows quickly and has
no factor, convolutions that begin as the identity, outputs scaled down, a first layer of whitened patches, and the mean
of what is said of an image and of its mirror image. Its optimizer is `training.muon`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import Dataset, FeatureContract, Rows
from tasks.problems.vision.models.base import MappedModel, convolution
from tasks.problems.vision.options import IMAGE

MOMENTUM = 0.4
SCALE = 1 / 9
PATCH = 2
LEAST_VARIANCE = 5e-4
WHITENED_PIXELS = 5_000 * 32**2
"""Images of about so many pixels together say how patches are whitened."""
WHITENED_AT_ONCE = 256


class FastOptions(Frozen):
    """`widths`: channels of the maps of each group. `residual`: a third convolution of each group adds to its input.

    `whiten`: the first layer is made from training images and stays. `mirror`: outputs and features are means over the
    image and its mirror image, except in training; a file does so too, and takes twice as long.
    """

    widths: tuple[int, ...] = Field(default=(32, 64, 64), min_length=1)
    residual: bool = True
    whiten: bool = False
    mirror: bool = False


class Whitened(nn.Module):
    """Whitened maps patches of 2 × 2 pixels to their principal components, each of variance 1, and to the opposites.

    Its filters are computed once, from training images, and are not trained; its bias is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        count = channels * PATCH**2
        self.layer = nn.Conv2d(channels, 2 * count, PATCH)
        for values in self.layer.parameters():
            nn.init.zeros_(values)
        self.layer.weight.requires_grad = False

    def forward(self, numbers: Tensor) -> Tensor:
        found: Tensor = self.layer(numbers)
        return found

    @property
    def width(self) -> int:
        """Return the number of maps."""
        return self.layer.out_channels

    @property
    def fitted(self) -> bool:
        """Return whether it has filters."""
        return bool(self.layer.weight.any())

    @torch.no_grad()
    def fit(self, numbers: Tensor) -> None:
        """Compute the filters from standardised images (n, channels, height, width)."""
        count, seen = self.width // 2, 0
        squares = torch.zeros(count, count, dtype=torch.float64)
        for part in torch.split(numbers, WHITENED_AT_ONCE):
            patches = functional.unfold(part, PATCH).transpose(1, 2).reshape(-1, count).double()
            squares += patches.T @ patches
            seen += len(patches)
        values, vectors = torch.linalg.eigh(squares / seen)
        filters = (vectors / (values + LEAST_VARIANCE).sqrt()).T.reshape(count, *self.layer.weight.shape[1:])
        self.layer.weight.copy_(torch.cat([filters, -filters]))


class Step(nn.Module):
    """A Step is a convolution that begins as the identity as far as it has inputs, normalised, and GELU."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False) -> None:
        super().__init__()
        self.layer = convolution(inputs, outputs)
        with torch.no_grad():
            nn.init.dirac_(self.layer.weight[:inputs])
        self.pool = pool
        self.norm = nn.BatchNorm2d(outputs, momentum=MOMENTUM)
        self.norm.weight.requires_grad = False

    def forward(self, maps: Tensor) -> Tensor:
        found = self.layer(maps)
        if not self.pool:
            found = self.norm(found)
        elif self.training:
            found = self.norm(functional.max_pool2d(found, 2))
        else:  # the same, as the norm's factor is above 0: so it can become part of the convolution in a file
            found = functional.max_pool2d(self.norm(found), 2)
        return functional.gelu(found)


class Group(nn.Module):
    """A Group halves the maps, if they are at least 4 pixels wide, and has two or three convolutions."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool, residual: bool) -> None:
        super().__init__()
        self.first = Step(inputs, outputs, pool=pool)
        self.second = Step(outputs, outputs)
        self.third = Step(outputs, outputs) if residual else None

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.second(self.first(maps))
        return maps if self.third is None else maps + self.third(maps)


class Fast(MappedModel):
    """Fast is a convolution and groups; its outputs are scaled down so that first steps are small."""

    def __init__(self, options: FastOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.widths[-1])
        size, channels = min(contract.inputs["image"][1][:2]), contract.inputs["image"][1][2]
        self.mirror = options.mirror
        self.stem: nn.Module = Whitened(channels) if options.whiten else convolution(channels, options.widths[0])
        groups: list[nn.Module] = []
        inputs = options.widths[0]
        if isinstance(self.stem, Whitened):
            inputs, size = self.stem.width, size - PATCH + 1
        for outputs in options.widths:
            pool = size >= 4
            groups.append(Group(inputs, outputs, pool=pool, residual=options.residual))
            inputs, size = outputs, size // 2 if pool else size
        self.groups = nn.Sequential(*groups)

    def body(self, numbers: Tensor) -> Tensor:
        found: Tensor = self.groups(functional.gelu(self.stem(numbers)))
        return found

    def begin(self, dataset: Dataset, rows: Rows) -> None:
        """Compute the first layer from training images, if it is a whitening one that has no filters yet."""
        if isinstance(self.stem, Whitened) and not self.stem.fitted:
            height, width, _ = dataset.contract.inputs[IMAGE][1]
            chosen = rows[:: max(1, len(rows) * height * width // WHITENED_PIXELS)]
            self.stem.fit(self.standardise(torch.from_numpy(dataset.inputs(chosen)[IMAGE])))

    def summary(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return (n, width) features, the maxima of maps, and these maps; those of the mirror image are not shown."""
        maps = self.body(numbers)
        features = maps.amax(dim=(2, 3))
        if self.mirror and not self.training:
            features = (features + self.body(numbers.flip(3)).amax(dim=(2, 3))) / 2
        return features, maps

    def answer(self, features: Tensor) -> Tensor:
        return super().answer(features) * SCALE


def build_fast(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return Fast(FastOptions.model_validate(dict(options)), contract)
