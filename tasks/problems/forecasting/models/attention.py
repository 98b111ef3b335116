"""This student has one layer of attention that pools the seasons of the window."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.direct import Direct, Window
from tasks.problems.forecasting.models.inputs import STUDENT_INPUTS
from tasks.problems.forecasting.models.patches import Patches


class AttentionOptions(Frozen):
    """`hidden` counts the numbers a season, `heads` the weighted averages of them."""

    hidden: int = Field(default=16, gt=0)
    heads: int = Field(default=2, gt=0)
    embedding: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Attention(Direct):
    """The layer computes h = tanh(W x) of each season x, and softmax(U h)^T h over the seasons, one average a head.

    Structured self-attention (Lin et al. 2017, arXiv:1703.03130). The position enters the weights of each head.
    """

    uses = (*STUDENT_INPUTS, "past")

    def __init__(self, options: AttentionOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.embedding, options.dropout)
        layout = self.layout
        self.patches = Patches(layout.context, layout.season, layout.channels - 1)
        self.enter = nn.Linear(self.patches.width, options.hidden)
        self.score = nn.Linear(options.hidden, options.heads, bias=False)
        self.position = nn.Parameter(torch.zeros(self.patches.steps, options.heads))
        self.add_head(options.heads * options.hidden + self.fixed_width)

    def represent(self, window: Window) -> Tensor:
        channels = torch.cat([window.units.unsqueeze(2), window.more[0]], dim=2)
        seasons = torch.tanh(self.enter(self.patches(channels)))
        weights = torch.softmax(self.score(seasons) + self.position, dim=1)
        pooled = (weights.transpose(1, 2) @ seasons).flatten(1)
        return torch.cat([pooled, *window.fixed], dim=1)


def build_attention(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build an `Attention` from unvalidated options."""
    return Attention(AttentionOptions.model_validate(options), contract)
