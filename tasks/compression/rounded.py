"""Numbers are rounded to 256 levels here, such that networks can be trained with it, and as files store them.

Sources: see qat.py.
"""

from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 255
SMALLEST = 1e-8
"""No scale is smaller: a channel or an input that is always zero would have a scale of zero, a divisor."""
MOST_STEPS = 2**30
CLIPPING = [2 ** (-step / 4) for step in range(25)]


def best_range(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return (low, high) around zero: the full range with its ends drawn in, in turn, where rounding gets better.

    Better is a smaller mean squared error of the values.
    """

    def error(ends: tuple[Tensor, Tensor]) -> float:
        return float((rounded(values, *ends) - values).square().mean())

    low, high = values.min().clamp(max=0), values.max().clamp(min=0)
    low, high = min(((low, high * part) for part in CLIPPING), key=error)
    return min(((low * part, high) for part in CLIPPING), key=error)


def affine(low: Tensor, high: Tensor, smallest: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the scale, at least `smallest`, and zero point of 256 levels from low <= 0 to high >= 0, zero included."""
    scale = ((high - low) / LEVELS).clamp(min=SMALLEST)
    scale = scale if smallest is None else torch.maximum(scale, smallest)
    return scale, straight_through(-low / scale)


def straight_through(values: Tensor) -> Tensor:
    """Return the values rounded, with the gradient of the identity."""
    return values + (values.round() - values).detach()


def levels(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return the nearest level of each value, 0 to 255."""
    return (straight_through(values / scale) + zero).clamp(0, LEVELS)


def rounded(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return each value's nearest level as a float (fake quantization); it is differentiable in values and range."""
    scale, zero = affine(low, high)
    return (levels(values, scale, zero) - zero) * scale


def dequantize(stored: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """Return (stored - zero) * scale, one scale an index of `axis`, zero 0 if None; DequantizeLinear in the file."""
    result: Tensor = _Dequantize.apply(stored, scale, zero, axis)  # type: ignore[no-untyped-call]
    return result


class TrainedRange(nn.Module):
    """A TrainedRange is a layer that rounds its input to a range, which is trained as a factor of each end."""

    low: Tensor
    high: Tensor

    def start_range(self, low: Tensor, high: Tensor) -> None:
        """Begin with the input's range (low, high), scalars."""
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.log_factors = nn.Parameter(torch.zeros(2))

    def range(self) -> tuple[Tensor, Tensor]:
        """Return (low, high) of the input, scalars."""
        factors = self.log_factors.exp()
        return self.low * factors[0], self.high * factors[1]


class StoredLevels(nn.Module):
    """A StoredLevels is a layer that keeps levels, and the numbers of these levels as `weight` and `bias`."""

    weight: Tensor
    bias: Any
    """A tensor or None; torch declares it otherwise for each kind of layer."""
    scale: Tensor
    zero: Tensor
    weight_levels: Tensor
    weight_scale: Tensor
    weight_zero: Tensor
    bias_levels: Tensor
    bias_scale: Tensor

    def store(
        self, given: tuple[Tensor, Tensor], stored: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None
    ) -> None:
        """Keep the input's scale and zero point `given`, and weights `stored` (out, …) in eight bits.

        `scale` and `zero` are those of each output, of one shape that `stored` is multiplied with. A bias is kept as
        32-bit multiples of the product of both scales.
        """
        self.weight = nn.Parameter((stored - zero) * scale)
        self.register_buffer("scale", given[0])
        self.register_buffer("zero", given[1].int())
        self.register_buffer("weight_levels", stored.byte())
        self.register_buffer("weight_scale", scale.flatten())
        self.register_buffer("weight_zero", zero.flatten().byte())
        if bias is not None:
            unit = given[0] * scale.flatten()
            steps = (bias.double() / unit).round()
            self.register_buffer("bias_levels", steps.int())
            self.register_buffer("bias_scale", unit)
            self.bias = nn.Parameter(steps.float() * unit)


class _Dequantize(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, stored: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
        shape = [-1 if place == axis else 1 for place in range(stored.dim())]
        steps = stored.float() if zero is None else stored.float() - zero.view(shape)
        return steps * scale.view(shape)

    @staticmethod
    def symbolic(graph: Any, stored: Any, scale: Any, zero: Any, axis: int) -> Any:
        given = (stored, scale) if zero is None else (stored, scale, zero)
        return graph.op("DequantizeLinear", *given, axis_i=axis)
