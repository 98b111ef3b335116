"""A student can take the effects of past steps' covariates off their values before it looks back."""

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract

LARGEST = 6.0
"""A factor's logarithm is bounded by it: a forecast stays finite whatever window it is made from."""


class PastEffects(nn.Module):
    """It maps units (n, context) in multiples of the scale, past (n, context, …) to units * exp(f) + s, (n, context).

    f and s are linear in a step's covariates: a promotion can be divided off, a closed day filled. Where training
    starts, both are zero.
    """

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        self.context, self.covariates = contract.inputs["past"][1]
        self.both = nn.Linear(self.covariates, 2, bias=False)
        nn.init.zeros_(self.both.weight)

    def forward(self, units: Tensor, past: Tensor) -> Tensor:
        effects = self.both(past.reshape(-1, self.covariates)).reshape(-1, self.context, 2)
        factor, summand = effects.permute(2, 0, 1).unbind(0)
        result: Tensor = units * torch.exp(factor.clamp(max=LARGEST)) + summand
        return result
