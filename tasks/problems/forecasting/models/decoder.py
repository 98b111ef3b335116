"""The decoder makes the outputs of every future step from a summary of the past: encoders share this head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.forecasting.models.embedding import StaticEmbedding
from tasks.problems.forecasting.models.inputs import ALL_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.outputs import (
    OrderedQuantiles,
    level_outputs,
    quantile_offsets,
    seasonal_average,
)
from tasks.problems.forecasting.models.standard import Standard


class FutureDecoder(nn.Module):
    """A small network for each future step reads the past's summary, the step's covariates and its distance.

    summary (n, width), units (n, context) normalised, future (n, horizon, known)
    -> (n, horizon * outputs) raw numbers, in multiples of the window's scale.
    """

    levels: Tensor

    def __init__(self, contract: FeatureContract, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.register_buffer("levels", level_outputs(contract), persistent=False)
        self.from_past = nn.Linear(width, hidden)
        self.from_day = nn.Linear(layout.known, hidden, bias=False)
        self.distance = nn.Parameter(torch.zeros(layout.horizon, hidden))
        self.inner = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, layout.outputs)
        self.skip = nn.Linear(layout.context, layout.horizon, bias=False)
        with torch.no_grad():
            nn.init.normal_(self.output.weight, std=0.01)
            self.output.bias.copy_(quantile_offsets(contract)[: layout.outputs])
            self.skip.weight.copy_(seasonal_average(contract))

    def forward(self, summary: Tensor, units: Tensor, future: Tensor) -> Tensor:
        days = functional.relu(self.from_past(summary).unsqueeze(1) + self.from_day(future) + self.distance)
        raw: Tensor = self.output(self.dropout(functional.relu(self.inner(days))))
        skip: Tensor = self.skip(units).unsqueeze(2) * self.levels
        return (raw + skip).flatten(1)


class Encoded(FeaturedModel):
    """Encoded sends normalised windows through an encoder, and its summary with statics and scale through the decoder.

    `encoder`: (n, context, channels) -> (n, width). Its summary is what `features` gives.
    """

    uses = ALL_INPUTS

    def __init__(
        self, encoder: nn.Module, width: int, contract: FeatureContract, embedding: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = WindowNorm(contract)
        self.standard = Standard(contract, self.uses)
        self.embedding = StaticEmbedding(contract, embedding)
        self.encoder = encoder
        self.decoder = FutureDecoder(contract, width + self.embedding.width + self.norm.told, hidden, dropout)
        self.quantiles = OrderedQuantiles(contract)

    @property
    def feature_width(self) -> int:
        """Return the width of the encoder's summary, which pruning narrows."""
        return self.decoder.from_past.in_features - self.embedding.width - self.norm.told

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        values, observed, future, static, past, calendar = self.standard(*inputs)
        centre, scale = self.norm(values, observed)
        units = self.norm.apply_to(values, observed, centre, scale)
        encoded = self.encoder(torch.cat([torch.stack([units, observed], dim=2), past], dim=2))
        summary = torch.cat([encoded, self.embedding(static), self.norm.levels(values, observed, scale)], dim=1)
        raw = self.decoder(summary, units, torch.cat([future, calendar], dim=2))
        return self.quantiles(raw, centre, scale), encoded
