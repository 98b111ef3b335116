"""The student: a linear skip and one small hidden layer over normalised units and projected covariates."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.config import Frozen
from tasks.models.embedding import StaticEmbedding
from tasks.models.features import FeaturedModel
from tasks.models.layout import Layout
from tasks.models.normalise import WindowNorm
from tasks.models.outputs import OrderedQuantiles, quantile_offsets, seasonal_average
from tasks.problems.base import FeatureContract


class LinearMlpOptions(Frozen):
    """`projection`: numbers that each future step's covariates are reduced to."""

    hidden: int = Field(default=48, gt=0)
    embedding: int = Field(default=4, gt=0)
    projection: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LinearMlp(FeaturedModel):
    """Normalised units; output = linear skip + hidden layer + weekly cycle, all horizons at once.

    `cycle` is a table of what each step of the season adds to each step ahead (CycleNet, Lin et al. 2024,
    arXiv:2409.18479); `effects` are those of price, promotion and holidays. `hidden` and `output` are the layers that pruning may narrow.
    """

    def __init__(self, options: LinearMlpOptions, contract: FeatureContract) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.shape = (layout.horizon, layout.outputs)
        outputs = layout.horizon * layout.outputs
        self.norm = WindowNorm(contract)
        self.embedding = StaticEmbedding(contract, options.embedding)
        self.project = nn.Linear(layout.own, options.projection)
        width = layout.context + 1 + self.embedding.width + layout.horizon * options.projection
        self.hidden = nn.Linear(width, options.hidden)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden, outputs)
        self.skip = nn.Linear(layout.context, outputs, bias=False)
        self.effects = nn.Linear(layout.own, layout.outputs, bias=False)
        self.cycle = nn.Embedding(layout.season, outputs)
        self.quantiles = OrderedQuantiles(contract)
        with torch.no_grad():  # the seasonal average with a plain band around it
            nn.init.zeros_(self.effects.weight)
            nn.init.zeros_(self.cycle.weight)
            nn.init.normal_(self.output.weight, std=0.01)
            self.output.bias.copy_(quantile_offsets(contract))
            nn.init.zeros_(self.skip.weight)
            start = self.skip.weight.view(*self.shape, -1)
            start[:, torch.tensor(layout.levels) > 0] = seasonal_average(contract).unsqueeze(1)

    @property
    def feature_width(self) -> int:
        """Width of the hidden layer, which pruning narrows."""
        return self.hidden.out_features

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        history, future, static = inputs
        centre, scale = self.norm(history)
        units = self.norm.apply_to(history, centre, scale)
        known = self.project(future).flatten(1)
        joined = torch.cat([units, torch.log(scale), self.embedding(static), known], dim=1)
        hidden = functional.relu(self.hidden(joined))
        raw = self.output(self.dropout(hidden)) + self.skip(units) + self.cycle(static[:, 0])
        raw = raw.reshape(-1, *self.shape) + self.effects(future)
        return self.quantiles(self.norm.undo(raw, centre, scale)), hidden

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """(producer, consumer) of the hidden layer, for structured pruning."""
        return [(self.hidden, self.output)]


def build_linear_mlp(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """A `LinearMlp` from unvalidated options."""
    return LinearMlp(LinearMlpOptions.model_validate(options), contract)
