"""The student: a linear skip and one small hidden layer over scaled units and projected covariates."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.config import Frozen
from tasks.models.layers import OrderedQuantiles, StaticEmbedding, WindowScale, quantile_offsets, seasonal_average
from tasks.problems.base import FeatureContract


class LinearMlpOptions(Frozen):
    """`projection`: numbers that each future day's covariates are reduced to."""

    hidden: int = Field(default=48, gt=0)
    embedding: int = Field(default=4, gt=0)
    projection: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LinearMlp(nn.Module):
    """Units divided by the window's scale; median = linear skip + hidden layer + weekly cycle, all horizons at once.

    The weekly cycle is the part of `cycle` that meets the one-hot weekday; its other weights are direct effects of
    price, promotion and holidays. `hidden` and `output` are the layers that pruning may narrow.
    """

    def __init__(self, options: LinearMlpOptions, contract: FeatureContract) -> None:
        super().__init__()
        (context, _), (horizon, known) = contract.inputs["history"][1], contract.inputs["future"][1]
        self.shape = contract.output_shape
        outputs = horizon * self.shape[1]
        self.scale = WindowScale(contract)
        self.embedding = StaticEmbedding(contract, options.embedding)
        self.project = nn.Linear(known, options.projection)
        width = context + 1 + self.embedding.width + horizon * options.projection
        self.hidden = nn.Linear(width, options.hidden)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden, outputs)
        self.skip = nn.Linear(context, outputs, bias=False)
        self.cycle = nn.Linear(known, self.shape[1], bias=False)
        self.quantiles = OrderedQuantiles(contract)
        self._start(contract)

    def _start(self, contract: FeatureContract) -> None:
        """Begin at the seasonal average with a plain band around it."""
        median = list(contract.settings["options"]["quantiles"]).index(0.5)
        with torch.no_grad():
            nn.init.zeros_(self.cycle.weight)
            nn.init.normal_(self.output.weight, std=0.01)
            self.output.bias.copy_(quantile_offsets(contract))
            nn.init.zeros_(self.skip.weight)
            self.skip.weight.view(*self.shape, -1)[:, median] = seasonal_average(contract)

    def forward(self, history: Tensor, future: Tensor, static: Tensor) -> Tensor:
        scale = self.scale(history)
        units = history[:, :, 0] / scale
        known = self.project(future).flatten(1)
        features = torch.cat([units, torch.log(scale), self.embedding(static), known], dim=1)
        hidden = self.dropout(functional.relu(self.hidden(features)))
        raw = (self.output(hidden) + self.skip(units)).reshape(-1, *self.shape) + self.cycle(future)
        result: Tensor = self.quantiles(raw) * scale.unsqueeze(2)
        return result

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """(producer, consumer) of the hidden layer, for structured pruning."""
        return [(self.hidden, self.output)]


def build_linear_mlp(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """A `LinearMlp` from unvalidated options."""
    return LinearMlp(LinearMlpOptions.model_validate(options), contract)
