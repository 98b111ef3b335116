"""This student, or wider a teacher, looks up for each future step the past steps that were like it."""

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.forecasting.models.effects import LARGEST
from tasks.problems.forecasting.models.embedding import StaticEmbedding
from tasks.problems.forecasting.models.inputs import ALL_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.outputs import OrderedQuantiles, level_outputs
from tasks.problems.forecasting.models.standard import Standard

NARROWER = 4.0
CLEAREST = 4.0
"""Where training starts, half of the heads look at the newest steps, each at a fourth of the steps of the one before;
the others at the same place in the season, the last one e^4 times as much as at all other steps of a season."""
BAND = 1.3
"""Where training starts, the lowest quantile lies so many deviations below the median, and others as far apart."""
LEAST_VARIANCE = 1e-6
LEAST_WEIGHT = 1e-30
"""It is added to the weights of observed steps: any but none stay as they are in float32, none can be divided by."""


class MatchOptions(Frozen):
    """`heads` look up the past, each by a code of `width` numbers a step. `hidden`: width of the steps' network.

    `kernel`: steps that the convolution over covariates sees at once; `channels`: numbers that it gives of a step.
    `place`: where in the season the forecast begins is embedded like a static column. Where training has seen few
    seasons, that learns them by heart; lags and calendar tell the place in any case.
    """

    heads: int = Field(default=6, gt=0)
    width: int = Field(default=8, gt=0)
    hidden: int = Field(default=32, gt=0)
    kernel: int = Field(default=7, gt=0)
    channels: int = Field(default=16, gt=0)
    embedding: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    place: bool = True


class LagBias(nn.Module):
    """It returns (horizon, heads, context): each head's bias for two steps by their lag, and the lag modulo the season.

    The file holds one number a head and lag; the runtime lays them out once, when it loads the file.
    """

    places: Tensor

    def __init__(self, layout: Layout, heads: int) -> None:
        super().__init__()
        self.context, self.horizon = layout.context, layout.horizon
        lag = torch.arange(layout.context + layout.horizon - 1, 0, -1)  # as the last step ahead sees the past
        self.lag = nn.Parameter(torch.zeros(heads, len(lag)))
        self.place = nn.Parameter(torch.zeros(heads, min(layout.season, len(lag) + 1)))
        self.register_buffer("places", lag % layout.season, persistent=False)
        recent = heads // 2
        with torch.no_grad():
            for head in range(recent):
                self.lag[head] = -lag * min(NARROWER ** (head + 1) / layout.context, 1)
            clearest = CLEAREST + math.log(layout.season)
            self.place[recent:, 0] = torch.linspace(0, clearest, heads - recent + 1)[1:]

    def forward(self) -> Tensor:
        # Each step ahead sees the past one lag later than the step before it: rows that are one number shorter than
        # what is repeated begin one number earlier each. The number that is added is in none of the pairs.
        by_lag = functional.pad(self.lag + self.place[:, self.places], (0, 1))
        row, first = self.lag.shape[1], self.horizon - 1
        rows = by_lag.repeat(1, self.horizon)[:, first : first + self.horizon * row]
        return rows.reshape(-1, self.horizon, row)[:, :, : self.context].transpose(0, 1)


class Match(FeaturedModel):
    """Each step ahead is y = scale * relu(base * exp(g) + m), from past steps whose covariates are like its own.

    Codes of all steps are made of their covariates, and of those around them by a convolution. Each head is an
    attention of the steps ahead to the observed steps of the past, whose keys all heads share (Shazeer 2019,
    arXiv:1911.02150); where training starts, alike steps attract each other, as in a kernel regression (Nadaraya 1964).
    It gives mean and deviation of what it finds, and which share of its weight lay on observed steps. One small network
    for all steps makes of these, covariates, static columns, distance and scale how much each of them counts in `base`,
    and factor and summand of each output. Covariates that are known of the past alone count as zero ahead.
    """

    uses = ALL_INPUTS
    distance: Tensor

    def __init__(self, options: MatchOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.layout = layout = Layout.of(contract)
        self.heads, self.width = options.heads, options.width
        self.norm = WindowNorm(contract)
        self.standard = Standard(contract, self.uses)
        self.embedding = StaticEmbedding(contract, options.embedding, first=options.place)
        self.changing = layout.own + layout.behind
        self.around = nn.Conv1d(self.changing, options.channels, options.kernel, padding="same")
        self.seen_width = layout.told + options.channels
        self.keys = nn.Linear(self.seen_width, options.width, bias=False)
        self.queries = nn.Linear(self.seen_width, options.heads * options.width, bias=False)
        self.lags = LagBias(layout, options.heads)
        self.base = nn.Linear(3 * options.heads, layout.outputs, bias=False)
        self.step_width = 3 * options.heads + self.seen_width + 2 + self.embedding.width
        self.hidden = nn.Linear(self.step_width, options.hidden)
        self.dropout = nn.Dropout(options.dropout)
        self.parts = [layout.outputs, layout.outputs, 3 * options.heads]
        self.output = nn.Linear(options.hidden, sum(self.parts))
        self.quantiles = OrderedQuantiles(contract)
        distance = torch.arange(layout.horizon).unsqueeze(1) / layout.horizon
        self.register_buffer("distance", distance, persistent=False)
        with torch.no_grad():
            self.queries.weight.copy_(self.keys.weight.repeat(options.heads, 1))  # alike steps attract each other
            self.base.weight.copy_(_band(contract, options.heads))
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)
            nn.init.ones_(self.output.bias[2 * layout.outputs :])

    @property
    def feature_width(self) -> int:
        """Count the numbers of the hidden layer, over all steps."""
        return self.layout.horizon * self.output.in_features

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        values, observed, future, static, past, calendar = self.standard(*inputs)
        layout = self.layout
        centre, scale = self.norm(values, observed)
        units = self.norm.apply_to(values, observed, centre, scale)
        seen = self._seen(past, future, calendar)
        before, ahead = torch.split(seen, [layout.context, layout.horizon], dim=1)
        found = self._look_up(before, ahead, units, observed)
        steps = torch.cat([found, ahead, self._fixed(torch.log(scale), static)], dim=2)
        hidden = functional.relu(self.hidden(steps.reshape(-1, self.step_width)))
        factor, summand, counts = torch.split(self.output(self.dropout(hidden)), self.parts, dim=1)
        base = self.base(found.reshape(-1, 3 * self.heads) * counts)
        raw = (base * torch.exp(factor.clamp(max=LARGEST)) + summand).reshape(-1, layout.horizon * layout.outputs)
        return self.quantiles(raw, centre, scale), hidden.reshape(-1, self.feature_width)

    def _fixed(self, size: Tensor, static: Tensor) -> Tensor:
        """Return (n, horizon, 2 + columns * size): what is equal at all steps, and `size` (n, 1) plus the distance."""
        fixed = torch.cat([size, size, self.embedding(static)], dim=1).unsqueeze(1)
        return fixed + functional.pad(self.distance, (1, self.embedding.width))

    def _seen(self, past: Tensor, future: Tensor, calendar: Tensor) -> Tensor:
        """Return (n, context + horizon, covariates + channels): covariates of each step and of the steps around it."""
        behind = self.layout.behind
        ahead = torch.cat([functional.pad(future, (0, behind)) if behind else future, calendar], dim=2)
        steps = torch.cat([past, ahead], dim=1)
        around = functional.relu(self.around(steps[:, :, : self.changing].transpose(1, 2))).transpose(1, 2)
        return torch.cat([steps, around], dim=2)

    def _look_up(self, before: Tensor, ahead: Tensor, units: Tensor, observed: Tensor) -> Tensor:
        """Return (n, horizon, 3 * heads): of past values, each head's weighted mean, deviation, and share observed.

        What was not observed is weighed as well and left out of the sums, which are divided by what is left, the share.
        """
        context, horizon, rows = self.layout.context, self.layout.horizon, self.layout.horizon * self.heads
        queries = self.queries(ahead).reshape(-1, rows, self.width)
        scores = queries @ self.keys(before).transpose(1, 2) + self.lags().reshape(rows, context)
        summed = torch.cat([units, units * units, observed], dim=1).reshape(-1, 3, context)
        sums = summed @ torch.softmax(scores, dim=2).transpose(1, 2)
        moments, share = torch.split(sums, [2, 1], dim=1)
        mean, square = torch.split(moments / (share + LEAST_WEIGHT), 1, dim=1)
        deviation = (square - mean * mean).clamp(min=LEAST_VARIANCE).sqrt()
        found = torch.cat([mean, deviation, share], dim=1).reshape(-1, 3, horizon, self.heads)
        return found.transpose(1, 2).reshape(-1, horizon, 3 * self.heads)

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of the hidden layer, for structured pruning."""
        return [(self.hidden, self.output)]


def _band(contract: FeatureContract, heads: int) -> Tensor:
    """Return (outputs, 3 * heads) first weights of the heads' means, deviations and shares: a plain band."""
    layout = Layout.of(contract)
    level = level_outputs(contract)
    apart = BAND * (1 - level)
    apart[0] = -BAND * layout.median
    weights = torch.stack([level, apart, torch.zeros_like(level)], dim=1)
    return weights.repeat_interleave(heads, dim=1) / heads


def build_match(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `Match` from unvalidated options."""
    return Match(MatchOptions.model_validate(options), contract)
