"""This teacher or small student is a residual multilayer perceptron over the flattened window, past and future."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.direct import Direct, Window, known_steps
from tasks.problems.forecasting.models.inputs import ALL_INPUTS


class MlpOptions(Frozen):
    """`hidden` is the width of the representation. `projection`: numbers that each step's covariates are reduced to."""

    hidden: int = Field(default=256, gt=0)
    blocks: int = Field(default=2, gt=0)
    projection: int = Field(default=8, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class ResidualBlock(nn.Module):
    """A block computes norm(x + W2 relu(W1 x)): (n, width) -> (n, width)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(x + self.dropout(self.outer(functional.relu(self.inner(x)))))
        return result


class ResidualMlp(Direct):
    """The blocks represent units, observed flags, projected covariates of all steps and statics.

    After TiDE (Das et al. 2023, arXiv:2304.08424), whose decoder is replaced by one linear map to all steps.
    """

    uses = ALL_INPUTS

    def __init__(self, options: MlpOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.embedding, options.dropout)
        layout = self.layout
        self.project = nn.Linear(layout.told, options.projection)
        steps = layout.context + layout.horizon
        width = 2 * layout.context + self.fixed_width + steps * options.projection
        self.enter = nn.Linear(width, options.hidden)
        self.blocks = nn.Sequential(*[ResidualBlock(options.hidden, options.dropout) for _ in range(options.blocks)])
        self.add_head(options.hidden)

    def represent(self, window: Window) -> Tensor:
        known = self.project(known_steps(window)).flatten(1)
        joined = torch.cat([window.units, window.observed, *window.fixed, known], dim=1)
        features: Tensor = self.blocks(functional.relu(self.enter(joined)))
        return features

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of each block's inner layer, for structured pruning."""
        return [(block.inner, block.outer) for block in self.blocks if isinstance(block, ResidualBlock)]


def build_mlp(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `ResidualMlp` from unvalidated options."""
    return ResidualMlp(MlpOptions.model_validate(options), contract)
