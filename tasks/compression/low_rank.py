"""Low rank: a linear layer becomes two thinner ones, where that stores fewer weights.

The truncated singular value decomposition is the closest matrix of its rank (Eckart and Young 1936). Sources: Xue et
al., Restructuring of Deep Neural Network Acoustic Models with Singular Value Decomposition (2013); Denton et al.,
Exploiting Linear Structure Within Convolutional Networks for Efficient Evaluation (2014).
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tasks.compression.step import FineTune, Rows, TorchStep
from tasks.errors import ConfigError
from tasks.models.factored import factored


class LowRank(TorchStep):
    """The rank of each linear layer, by one of two rules.

    `energy`: the smallest rank that keeps this share of the layer's squared singular values; `budget`: the largest
    that stores at most this share of the layer's weights. A layer that would not shrink stays whole.
    """

    kind = "low-rank"
    phase = "rank"
    energy: float | None = Field(default=None, gt=0, lt=1)
    budget: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.energy is None) == (self.budget is None):
            raise ValueError("give exactly one of energy and budget")
        return self

    def apply(self, model: nn.Module, tune: FineTune, calibration: Rows) -> None:
        """Factor the layers that get smaller by it and fine-tune if there are any. Raises ConfigError without layers.

        Layers are replaced by pairs, so a model must call them and not read their weights.
        """
        # A subclass may be read by its owner (attention's output projection is).
        layers = {name: layer for name, layer in model.named_modules() if name and type(layer) is nn.Linear}
        if not layers:
            raise ConfigError(
                f"step low-rank: model {type(model).__name__} has no linear layer to factor; drop the step"
            )
        shrunk = False
        for name, layer in layers.items():
            rank = self.rank(layer.weight.detach())
            if rank * (layer.in_features + layer.out_features) < layer.weight.numel():
                model.set_submodule(name, factored(layer, rank))
                shrunk = True
        if shrunk and self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)

    def rank(self, weight: Tensor) -> int:
        """The rank that the rule gives a (out, in) matrix, at least 1."""
        if self.budget is not None:
            return max(1, int(self.budget * weight.numel() / sum(weight.shape)))
        assert self.energy is not None
        squares = torch.linalg.svdvals(weight.double()).square()
        kept = squares.cumsum(0) / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)
        return min(int((kept < self.energy).sum()) + 1, len(squares))
