"""This student, or wider a teacher, looks up for each future step the past steps that were like it."""

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
the others at the same place in the season, the last one e^4 times as much as at other steps."""
BAND = 1.3
"""Where training starts, the lowest quantile lies so many deviations below the median, and others as far apart."""
LEAST_VARIANCE = 1e-6
LEAST_WEIGHT = 1e-30
"""It is added to the weights of observed steps: any but none stay as they are in float32, none can be divided by."""


class MatchOptions(Frozen):
    """`heads` look up the past, each by a code of `width` numbers a step. `hidden`: width of the steps' network.

    `kernel`: steps that the convolution over covariates sees at once; `channels`: numbers that it gives of a step.
    """

    heads: int = Field(default=6, gt=0)
    width: int = Field(default=8, gt=0)
    hidden: int = Field(default=32, gt=0)
    kernel: int = Field(default=7, gt=0)
    channels: int = Field(default=16, gt=0)
    embedding: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LagBias(nn.Module):
    """It returns (heads, horizon, context): each head's bias for two steps by their lag, and the lag modulo the season.

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
            self.place[recent:, 0] = torch.linspace(0, CLEAREST, heads - recent + 1)[1:]

    def forward(self) -> Tensor:
        # Each step ahead sees the past one lag later than the step before it: rows that are one number shorter than
        # what is repeated begin one number earlier each. The number that is added is in none of the pairs.
        by_lag = functional.pad(self.lag + self.place[:, self.places], (0, 1))
        row, first = self.lag.shape[1], self.horizon - 1
        rows = by_lag.repeat(1, self.horizon)[:, first : first + self.horizon * row]
        return rows.reshape(-1, self.horizon, row)[:, :, : self.context]


class Match(FeaturedModel):
    """Each step ahead is y = scale * relu(base * exp(g) + m), from past steps whose covariates are like its own.

    Codes of all steps are made of their covariates, and of those around them by a convolution. Each head is an
    attention (Vaswani et al. 2017, arXiv:1706.03762) of the steps ahead to the observed steps of the past by one code
    for both, as a kernel regression would weigh them (Nadaraya 1964), and gives mean and deviation of their values.
    From these comes `base`; one small network for all steps makes factor and summand of each output from means,
    deviations, covariates, static columns and scale. Covariates that are known of the past alone count as zero ahead.
    """

    uses = ALL_INPUTS
    zeros: Tensor

    def __init__(self, options: MatchOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.layout = layout = Layout.of(contract)
        self.heads, self.width = options.heads, options.width
        self.norm = WindowNorm(contract)
        self.standard = Standard(contract, self.uses)
        self.embedding = StaticEmbedding(contract, options.embedding)
        self.around = nn.Conv1d(layout.told, options.channels, options.kernel, padding="same")
        self.seen_width = layout.told + options.channels
        self.codes = nn.Linear(self.seen_width, options.heads * options.width)
        self.lags = LagBias(layout, options.heads)
        self.base = nn.Linear(2 * options.heads, layout.outputs, bias=False)
        self.step_width = 2 * options.heads + self.seen_width + 1 + self.embedding.width
        self.hidden = nn.Linear(self.step_width, options.hidden)
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden, 2 * layout.outputs)
        self.quantiles = OrderedQuantiles(contract)
        self.register_buffer("zeros", torch.zeros(layout.horizon, 1), persistent=False)
        with torch.no_grad():
            self.base.weight.copy_(_band(contract, options.heads))
            nn.init.normal_(self.output.weight, std=0.01)
            nn.init.zeros_(self.output.bias)

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
        found = self._look_up(seen, units, observed)
        fixed = torch.cat([torch.log(scale), self.embedding(static)], dim=1).unsqueeze(1) + self.zeros
        steps = torch.cat([found, seen[:, layout.context :], fixed], dim=2).reshape(-1, self.step_width)
        hidden = functional.relu(self.hidden(steps))
        factor, summand = self.output(self.dropout(hidden)).split(layout.outputs, dim=1)
        base = self.base(found.reshape(-1, 2 * self.heads))
        raw = (base * torch.exp(factor.clamp(max=LARGEST)) + summand).reshape(-1, layout.horizon * layout.outputs)
        return self.quantiles(raw, centre, scale), hidden.reshape(-1, self.feature_width)

    def _seen(self, past: Tensor, future: Tensor, calendar: Tensor) -> Tensor:
        """Return (n, context + horizon, covariates + channels): covariates of each step and of the steps around it."""
        behind = self.layout.behind
        ahead = torch.cat([functional.pad(future, (0, behind)) if behind else future, calendar], dim=2)
        steps = torch.cat([past, ahead], dim=1)
        around = functional.relu(self.around(steps.transpose(1, 2))).transpose(1, 2)
        return torch.cat([steps, around], dim=2)

    def _look_up(self, seen: Tensor, units: Tensor, observed: Tensor) -> Tensor:
        """Return (n, horizon, 2 * heads): weighted means of the past values that each head looks up, and deviations.

        What was not observed is weighed as well and left out of the sums, which are divided by what is left.
        """
        context, horizon, heads = self.layout.context, self.layout.horizon, self.heads
        codes = self.codes(seen.reshape(-1, self.seen_width)).reshape(-1, context + horizon, heads, self.width)
        keys, queries = codes.transpose(1, 2).split((context, horizon), dim=2)
        weights = torch.softmax(queries @ keys.transpose(2, 3) + self.lags(), dim=3)
        summed = torch.cat([units, units * units, observed], dim=1).reshape(-1, 3, context).transpose(1, 2)
        sums = weights.reshape(-1, heads * horizon, context) @ summed
        by_step = sums.reshape(-1, heads, horizon, 3).permute(0, 2, 3, 1).reshape(-1, horizon, 3 * heads)
        first, second, count = torch.split(by_step, heads, dim=2)
        count = count + LEAST_WEIGHT
        mean = first / count
        variance = second / count - mean * mean
        return torch.cat([mean, variance.clamp(min=LEAST_VARIANCE).sqrt()], dim=2)

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of the hidden layer, for structured pruning."""
        return [(self.hidden, self.output)]


def _band(contract: FeatureContract, heads: int) -> Tensor:
    """Return (outputs, 2 * heads) first weights of the heads' means and deviations: a plain band."""
    layout = Layout.of(contract)
    level = level_outputs(contract)
    apart = BAND * (1 - level)
    apart[0] = -BAND * layout.median
    return torch.cat([level[:, None].expand(-1, heads), apart[:, None].expand(-1, heads)], dim=1) / heads


def build_match(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `Match` from unvalidated options."""
    return Match(MatchOptions.model_validate(options), contract)
