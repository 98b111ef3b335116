"""Muon trains the filters of convolutions by steps that are orthogonal matrices (Jordan et al. 2024)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.6
ROUNDS = 3
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
FILTER_AXES = 4


def is_filter(weights: Tensor) -> bool:
    """Return whether these are the filters (outputs, inputs, height, width) of a convolution that is trained."""
    return weights.requires_grad and weights.dim() == FILTER_AXES


class Muon(torch.optim.Optimizer):
    """Muon keeps the norm of filters and turns them by orthogonal steps with Nesterov momentum.

    The norm is the root of the number of outputs; a normalisation that follows makes it no matter. After
    github.com/KellerJordan/Muon and, for these values, cifar10-airbench (arXiv:2404.00498).
    """

    def __init__(self, filters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(filters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure
        """Take a step of length `lr` along each filter's orthogonal gradient."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weights)
                moment = state["momentum_buffer"].mul_(MOMENTUM).add_(weights.grad)
                ahead = weights.grad.add(moment, alpha=MOMENTUM)
                weights.mul_(len(weights) ** 0.5 / weights.norm().clamp(min=1e-7))
                weights.sub_(orthogonal(ahead.flatten(1)).view_as(ahead), alpha=group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular vectors, whose singular values are near 1: 0.5 to 1.5 for most.

    By rounds of Newton and Schulz with coefficients of the greatest slope at 0; a matrix of zeros stays so.
    """
    first, third, fifth = COEFFICIENTS
    turned = len(matrix) > matrix.shape[1]
    found: Tensor = matrix.T if turned else matrix
    found = found / (found.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = found @ found.T
        found = first * found + (third * square + fifth * square @ square) @ found
    return found.T if turned else found
