"""Convolutions are trained with the rounding that their eight-bit file does, like the linear layers of qat.py.

Weights have one scale an output channel, symmetric around the middle level: kernels take one zero point for all
channels (Krishnamoorthi 2018, section 3.1). Batch normalisation is part of the weights before that, so that what is
rounded is what the file holds (Jacob et al. 2018, section 3.2, with the statistics of the training before).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.compression.rounded import (
    LEVELS,
    MOST_STEPS,
    SMALLEST,
    StoredLevels,
    TrainedRange,
    affine,
    dequantize,
    levels,
    rounded,
)

MIDDLE = 128


def symmetric_scale(weight: Tensor, smallest: Tensor | None = None) -> Tensor:
    """Return (out, 1, 1, 1) scales, at least `smallest`, by which each channel's weights fit the levels 1 to 255."""
    scale = (weight.detach().abs().amax((1, 2, 3), keepdim=True) / (LEVELS - MIDDLE)).clamp(min=SMALLEST)
    return scale if smallest is None else torch.maximum(scale, smallest)


class TrainedConvolution(TrainedRange, nn.Conv2d):
    """A TrainedConvolution computes with rounded weights and inputs. The input's range is trained as a factor."""

    def __init__(self, layer: nn.Conv2d, low: Tensor, high: Tensor) -> None:
        super().__init__(**_shape(layer), device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.start_range(low, high)

    def forward(self, given: Tensor) -> Tensor:
        scale, middle = symmetric_scale(self.weight), self.weight.new_tensor(MIDDLE)
        weight = (levels(self.weight, scale, middle) - middle) * scale
        given = rounded(given, *self.range())
        return functional.conv2d(given, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Int8Convolution(StoredLevels, nn.Conv2d):
    """An Int8Convolution has stored levels and exports as QDQ. `weight`, `bias` hold the numbers of these levels.

    The levels are (out, in, height, width) in eight bits, the bias 32-bit multiples of the product of both scales.
    """

    def __init__(self, trained: TrainedConvolution) -> None:
        super().__init__(**_shape(trained), device="meta")
        with torch.no_grad():
            scale, zero = affine(*trained.range())
            bias = trained.bias
            # A pruned channel has a bias still: see Int8Linear.
            smallest = None if bias is None else bias.abs()[:, None, None, None] / (scale * MOST_STEPS)
            weight_scale = symmetric_scale(trained.weight, smallest)
            stored = levels(trained.weight, weight_scale, trained.weight.new_tensor(MIDDLE))
            middle = torch.full_like(weight_scale, MIDDLE)
            self.store((scale, zero), stored, weight_scale, middle, bias)

    def forward(self, given: Tensor) -> Tensor:
        given = torch.fake_quantize_per_tensor_affine(given, self.scale, self.zero, 0, LEVELS)
        weight = dequantize(self.weight_levels, self.weight_scale, self.weight_zero, axis=0)
        bias = None if self.bias is None else dequantize(self.bias_levels, self.bias_scale, None, axis=0)
        return functional.conv2d(given, weight, bias, self.stride, self.padding, self.dilation, self.groups)


def _shape(layer: nn.Conv2d) -> dict[str, Any]:
    """Return what a layer of the same shape is made of."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    return {**{name: getattr(layer, name) for name in names}, "bias": layer.bias is not None}
