"""Students share this frame: a representation of the window, and from it all outputs of all steps at once."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import FeatureContract
from tasks.problems.blocks.factored import Factored
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.forecasting.models.effects import PastEffects
from tasks.problems.forecasting.models.embedding import StaticEmbedding
from tasks.problems.forecasting.models.inputs import STUDENT_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.outputs import (
    OrderedQuantiles,
    level_outputs,
    quantile_offsets,
    seasonal_average,
)
from tasks.problems.forecasting.models.resolutions import LookBack, Resolutions
from tasks.problems.forecasting.models.standard import Standard


class Window(NamedTuple):
    """A Window holds a student's inputs. `units` (n, look back) normalised; `observed`, `future` as in the contract.

    `fixed`: the window's `levels` (n, told) and the embedded static columns (n, columns * size).
    `known` (n, horizon * per day): the numbers that each future step's covariates are reduced to.
    `more`: past and calendar, for those that use them.
    """

    units: Tensor
    observed: Tensor
    future: Tensor
    fixed: tuple[Tensor, Tensor]
    known: Tensor
    more: tuple[Tensor, ...]


def known_steps(window: Window) -> Tensor:
    """Return (n, context + horizon, told) covariates and calendar of all steps; past-only covariates are 0 ahead."""
    past, calendar = window.more
    behind = past.shape[2] - window.future.shape[2] - calendar.shape[2]
    ahead = [functional.pad(window.future, (0, behind)) if behind else window.future, calendar]
    return torch.cat([past, torch.cat(ahead, dim=2)], dim=1)


def plus(layer: nn.Module, given: Tensor, term: Tensor) -> Tensor:
    """Return layer(given) + term, (n, width): in the graph one Gemm where the layer is, or ends with, a product."""
    if isinstance(layer, nn.Sequential):
        *before, last = layer
        for part in before:
            given = part(given)
        return plus(last, given, term)
    if type(layer) is nn.Linear and getattr(layer, "bias", None) is None:
        return torch.addmm(term, given, layer.weight.t())
    result: Tensor = layer(given) + term
    return result


def _skip(contract: FeatureContract, look_back: LookBack) -> nn.Linear:
    """Return a layer (n, look back) -> (n, horizon * outputs) raw numbers, starting as the seasonal average."""
    layout = Layout.of(contract)
    layer = nn.Linear(look_back.width, layout.horizon * layout.outputs, bias=False)
    start = look_back.gathered(seasonal_average(contract)).unsqueeze(1) * level_outputs(contract)[None, :, None]
    with torch.no_grad():
        layer.weight.copy_(start.flatten(0, 1))
    return layer


class Direct(FeaturedModel):
    """It computes raw = output(representation) + skip(units) + effects of each step's covariates, for all steps.

    The direct strategy (Ben Taieb et al. 2012, arXiv:1108.3259). `covariates` reduces the series' own covariates of a
    step, such as price, promotion and holidays, to `projection` numbers for the representation and to their direct
    effects on the step's outputs. The calendar enters by the place in the season where the forecast begins, a code
    among the static ones, and by the skip, in which each step meets the same place in past seasons.
    Without `skip` that map is left out: one of noise learns noise.
    A subclass defines its layers, calls `add_head`, and gives the representation (n, width), which is what `features`
    gives. Few nodes matter here: at batch 1 most of the time goes into starting them, not into computing.
    """

    uses: tuple[str, ...] = STUDENT_INPUTS
    output: nn.Linear
    skip: nn.Linear | Factored | None
    effects: Tensor

    def __init__(
        self,
        contract: FeatureContract,
        embedding: int,
        dropout: float,
        *,
        projection: int = 0,
        resolutions: Resolutions = (),
        past: bool = False,
        skip: bool = True,
    ) -> None:
        super().__init__()
        if past:
            self.uses = (*self.uses, "past")
        self.layout = layout = Layout.of(contract)
        self.norm = WindowNorm(contract)
        self.standard = Standard(contract, self.uses)
        self.look_back = LookBack(layout.context, resolutions)
        self.embedding = StaticEmbedding(contract, embedding)
        self.fixed_width = self.norm.told + self.embedding.width
        self.projected = projection > 0
        self.known_width = layout.horizon * (projection + layout.outputs)
        self.dropout = nn.Dropout(dropout)
        self.covariates = nn.Linear(layout.own, projection + layout.outputs)
        self.skip = _skip(contract, self.look_back) if skip else None
        self.quantiles = OrderedQuantiles(contract)
        self.past_effects = PastEffects(contract) if past else None
        places = torch.arange(self.known_width).reshape(layout.horizon, -1)[:, projection:].flatten()
        self.register_buffer("effects", places, persistent=False)
        with torch.no_grad():  # a plain band around the seasonal average
            self.covariates.weight[projection:] = 0
            self.covariates.bias[projection:] = quantile_offsets(contract)[: layout.outputs]

    def add_head(self, width: int) -> None:
        """Add the layer behind a representation of `width` numbers."""
        self.output = nn.Linear(width, self.layout.horizon * self.layout.outputs, bias=False)
        nn.init.normal_(self.output.weight, std=0.01)

    @property
    def feature_width(self) -> int:
        """Return the width of the representation, which pruning narrows."""
        return self.output.in_features

    def represent(self, window: Window) -> Tensor:
        """Return (n, feature_width): the last layer before the head."""
        raise NotImplementedError

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        values, observed, future, static, *more = self.standard(*inputs)
        centre, scale = self.norm(values, observed)
        units = self.norm.apply_to(values, observed, centre, scale)
        if self.past_effects is not None:
            units = self.past_effects(units, more[0])
        units = self.look_back(units)
        known = self.covariates(future.flatten(0, 1)).reshape(-1, self.known_width)
        fixed = (self.norm.levels(values, observed, scale), self.embedding(static))
        features = self.represent(Window(units, observed, future, fixed, known, tuple(more)))
        effects = known.index_select(1, self.effects) if self.projected else known
        if self.skip is not None:
            effects = plus(self.skip, units, effects)
        raw = plus(self.output, self.dropout(features), effects)
        return self.quantiles(raw, centre, scale), features
