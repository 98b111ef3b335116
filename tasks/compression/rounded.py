"""Numbers are rounded to 256 levels here, such that networks can be trained with it, and as files store them.

Sources: see qat.py.
"""

from typing import Any

import torch
from torch import Tensor

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
