"""This teacher is a transformer encoder over the window's seasons, with a decoder of known future days."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.decoder import Encoded
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.patches import Patches


class TransformerOptions(Frozen):
    """`width` counts the numbers a token, shared by the `heads`. `hidden`: the decoder's width.

    `patch`: steps that are a token, a season without it.
    """

    width: int = Field(default=64, gt=0)
    heads: int = Field(default=4, gt=0)
    layers: int = Field(default=2, gt=0)
    hidden: int = Field(default=128, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    patch: int | None = Field(default=None, gt=0)


class Block(nn.Module):
    """A block has self-attention and a two-layer network, each with a residual, normalised before (Xiong et al. 2020).

    tokens (n, steps, width) -> the same. softmax(Q K^T / sqrt(width / heads)) V, Vaswani et al. 2017.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_inner = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.projections(self.before_attention(tokens)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5, dim=3)
        seen = (weights @ values).transpose(1, 2).flatten(2)
        tokens = tokens + self.dropout(self.joined(seen))
        inner = functional.gelu(self.inner(self.before_inner(tokens)))
        result: Tensor = tokens + self.dropout(self.outer(inner))
        return result


class SeasonalTransformer(nn.Module):
    """It maps (n, context, channels) to (n, width): tokens of a season or patch each, encoded, flattened and projected.

    After PatchTST (Nie et al. 2023, arXiv:2211.14730), with the covariates of its steps in a token.
    """

    def __init__(self, options: TransformerOptions, contract: FeatureContract) -> None:
        super().__init__()
        layout, width = Layout.of(contract), options.width
        self.patches = Patches(layout.context, options.patch or layout.season, layout.channels)
        self.enter = nn.Linear(self.patches.width, width)
        self.position = nn.Parameter(0.02 * torch.randn(self.patches.steps, width))
        self.blocks = nn.Sequential(*[Block(width, options.heads, options.dropout) for _ in range(options.layers)])
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(self.patches.steps * width, width)

    def forward(self, window: Tensor) -> Tensor:
        tokens = self.blocks(self.enter(self.patches(window)) + self.position)
        summary: Tensor = self.leave(self.norm(tokens).flatten(1))
        return summary


def build_transformer(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build the transformer teacher from unvalidated options. Raises ConfigError when heads do not share the width."""
    chosen = TransformerOptions.model_validate(options)
    if chosen.width % chosen.heads:
        raise ConfigError(
            f"model.width of kind transformer: expected a multiple of {chosen.heads} heads, got {chosen.width}"
        )
    encoder = SeasonalTransformer(chosen, contract)
    return Encoded(encoder, chosen.width, contract, chosen.embedding, chosen.hidden, chosen.dropout)
