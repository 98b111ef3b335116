"""This module rounds a matrix to few levels so that its products with its inputs change least.

Each weight is rounded in turn, and those that are still to come make up for its error, which inputs that move together
let them do (Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2023).
"""

import torch
from torch import Tensor

DAMPING = 1e-6
"""This share of an input's mean square is added: so inputs that always move together have an inverse."""
RANGES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
"""The levels may span these parts of an output's largest weight. With few levels, cutting the largest can be better."""


def round_weights(weight: Tensor, squares: Tensor | None, largest: int) -> tuple[Tensor, Tensor]:
    """Return (in, out) levels from -largest to largest, whole numbers, and (out,) scales: weight ~ levels * scales.

    `weight` (in, out) float64; `squares` (in, in) float64: mean of x x^T over rows of inputs x, without which every
    weight is rounded to its nearest level. What is zero stays zero. Of RANGES, each output takes the one that changes
    it least.
    """
    widest = weight.abs().amax(0)
    if squares is None:
        return _levels(weight, scales := _scales(widest, largest), largest), scales
    order = squares.diagonal().argsort(descending=True, stable=True)
    given, back = squares[order][:, order], order.argsort()
    damping = (DAMPING * given.diagonal().mean()).clamp(min=torch.finfo(torch.float64).tiny)
    damped = given + damping * torch.eye(len(given), dtype=torch.float64)
    spread = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    best, kept, least = torch.zeros_like(weight), torch.ones_like(widest), torch.full_like(widest, torch.inf)
    for part in RANGES:
        scales = _scales(part * widest, largest)
        levels = _in_turn(weight[order], spread, scales, largest)
        off = weight[order] - levels * scales
        change = (off * (damped @ off)).sum(0)
        better = change < least
        best[:, better], kept[better], least[better] = levels[:, better], scales[better], change[better]
    return best[back], kept


def _in_turn(weight: Tensor, spread: Tensor, scales: Tensor, largest: int) -> Tensor:
    """Return the rows' levels, in turn. `spread`: upper triangle of the Cholesky factor of the inverse squares."""
    left, zero = weight.clone(), weight == 0
    levels = torch.zeros_like(weight)
    for row in range(len(weight)):
        levels[row] = _levels(left[row], scales, largest).masked_fill(zero[row], 0)
        off = (left[row] - levels[row] * scales) / spread[row, row]
        left[row + 1 :] -= spread[row, row + 1 :, None] * off
    return levels


def _levels(weight: Tensor, scales: Tensor, largest: int) -> Tensor:
    return (weight / scales).round().clamp(-largest, largest)


def _scales(widest: Tensor, largest: int) -> Tensor:
    """Return scales in float32, which the file stores, so that levels are counted in them."""
    scales = (widest / largest).float().double()
    return torch.where(scales > 0, scales, 1.0)
