"""The frame of students: a representation of the window, and from it all outputs of all steps at once."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tasks.models.embedding import StaticEmbedding
from tasks.models.features import FeaturedModel
from tasks.models.inputs import STUDENT_INPUTS
from tasks.models.layout import Layout
from tasks.models.normalise import WindowNorm
from tasks.models.outputs import OrderedQuantiles, quantile_offsets, seasonal_average
from tasks.problems.base import FeatureContract


class Window(NamedTuple):
    """What a student sees. `units` (n, context) normalised; `history`, `future` as in the contract.

    `fixed`: the logarithm of the scale (n, 1) and the embedded static columns (n, columns * size).
    `more`: past and calendar, for those that use them.
    """

    units: Tensor
    history: Tensor
    future: Tensor
    fixed: tuple[Tensor, Tensor]
    more: tuple[Tensor, ...]


def known_steps(window: Window) -> Tensor:
    """(n, context + horizon, known) covariates and calendar of all steps."""
    past, calendar = window.more
    return torch.cat([past, torch.cat([window.future, calendar], dim=2)], dim=1)


class Direct(FeaturedModel):
    """raw = output(representation) + skip(units) + cycle[phase] + effects(future), for all steps at once.

    The direct strategy (Ben Taieb et al. 2012, arXiv:1108.3259). `cycle` is a table of what a season adds to each step
    ahead, by the place where the forecast begins (CycleNet, Lin et al. 2024, arXiv:2409.18479); `effects` are those of
    price, promotion and holidays on their own day. A subclass defines its
    layers, calls `add_head`, and gives the representation (n, width), which is what `features` gives.
    """

    uses: tuple[str, ...] = STUDENT_INPUTS
    output: nn.Linear
    skip: nn.Linear | None

    def __init__(self, contract: FeatureContract, embedding: int, dropout: float) -> None:
        super().__init__()
        self.layout = Layout.of(contract)
        self.norm = WindowNorm(contract)
        self.embedding = StaticEmbedding(contract, embedding)
        self.fixed_width = 1 + self.embedding.width
        self.dropout = nn.Dropout(dropout)
        self.cycle = nn.Embedding(self.layout.season, self.layout.horizon * self.layout.outputs)
        self.effects = nn.Linear(self.layout.own, self.layout.outputs, bias=False)
        self.quantiles = OrderedQuantiles(contract)
        nn.init.zeros_(self.cycle.weight)
        nn.init.zeros_(self.effects.weight)

    def add_head(self, contract: FeatureContract, width: int, *, skip: bool = True) -> None:
        """The layers behind `width` numbers, of which without `skip` the first are the units themselves.

        They start at the seasonal average with a plain band around it.
        """
        shape = (self.layout.horizon, self.layout.outputs)
        self.output = nn.Linear(width, shape[0] * shape[1])
        self.skip = nn.Linear(self.layout.context, shape[0] * shape[1], bias=False) if skip else None
        with torch.no_grad():
            nn.init.normal_(self.output.weight, std=0.01)
            self.output.bias.copy_(quantile_offsets(contract))
            from_units = (self.skip or self.output).weight[:, : self.layout.context]
            start = seasonal_average(contract).unsqueeze(1) * torch.tensor(self.layout.levels)[None, :, None]
            from_units.copy_(start.flatten(0, 1))

    @property
    def feature_width(self) -> int:
        """Width of the representation, which pruning narrows."""
        return self.output.in_features

    def represent(self, window: Window) -> Tensor:
        """(n, feature_width): the last layer before the head."""
        raise NotImplementedError

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        history, future, static, *more = inputs
        centre, scale = self.norm(history)
        units = self.norm.apply_to(history, centre, scale)
        window = Window(units, history, future, (torch.log(scale), self.embedding(static)), tuple(more))
        features = self.represent(window)
        raw = self.output(self.dropout(features)) + self.cycle(static[:, 0])
        if self.skip is not None:
            raw = raw + self.skip(units)
        raw = raw.reshape(-1, self.layout.horizon, self.layout.outputs) + self.effects(future)
        return self.quantiles(self.norm.undo(raw, centre, scale)), features
