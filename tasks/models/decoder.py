"""From a summary of the past to quantiles of every future day: the head that all teachers share."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.layers import OrderedQuantiles, StaticEmbedding, WindowScale, quantile_offsets, seasonal_average
from tasks.problems.base import FeatureContract


class FutureDecoder(nn.Module):
    """A small network for each future day, on the past's summary, the day's covariates and its distance.

    summary (n, width), units (n, context) scaled, future (n, horizon, K), static (n, E) embedded
    -> (n, horizon, Q) non-negative, rising, in multiples of the window's scale.
    """

    at_median: Tensor

    def __init__(self, contract: FeatureContract, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        horizon, known = contract.inputs["future"][1]
        context = contract.inputs["history"][1][0]
        levels = list(contract.settings["options"]["quantiles"])
        self.register_buffer("at_median", torch.tensor([float(level == 0.5) for level in levels]), persistent=False)
        self.from_past = nn.Linear(width, hidden)
        self.from_day = nn.Linear(known, hidden, bias=False)
        self.distance = nn.Parameter(torch.zeros(horizon, hidden))
        self.inner = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, contract.output_shape[1])
        self.skip = nn.Linear(context, horizon, bias=False)
        self.quantiles = OrderedQuantiles(contract)
        with torch.no_grad():
            nn.init.normal_(self.output.weight, std=0.01)
            self.output.bias.copy_(quantile_offsets(contract)[: contract.output_shape[1]])
            self.skip.weight.copy_(seasonal_average(contract))

    def forward(self, summary: Tensor, units: Tensor, future: Tensor) -> Tensor:
        days = functional.relu(self.from_past(summary).unsqueeze(1) + self.from_day(future) + self.distance)
        raw = self.output(self.dropout(functional.relu(self.inner(days))))
        raw = raw + self.skip(units).unsqueeze(2) * self.at_median
        result: Tensor = self.quantiles(raw)
        return result


class Encoded(nn.Module):
    """A teacher: scaled windows through an encoder, and its summary with statics and scale through the decoder.

    `encoder`: (n, context, channels) -> (n, width).
    """

    def __init__(
        self, encoder: nn.Module, width: int, contract: FeatureContract, embedding: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.scale = WindowScale(contract)
        self.embedding = StaticEmbedding(contract, embedding)
        self.encoder = encoder
        self.decoder = FutureDecoder(contract, width + self.embedding.width + 1, hidden, dropout)

    def forward(self, history: Tensor, future: Tensor, static: Tensor) -> Tensor:
        scale = self.scale(history)
        units = history[:, :, 0] / scale
        past = self.encoder(torch.cat([units.unsqueeze(2), history[:, :, 1:]], dim=2))
        summary = torch.cat([past, self.embedding(static), torch.log(scale)], dim=1)
        result: Tensor = self.decoder(summary, units, future) * scale.unsqueeze(2)
        return result
