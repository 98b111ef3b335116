"""This student has one small map from past seasons to future ones, shared by all phases of the season."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.forecasting.models.effects import PastEffects
from tasks.problems.forecasting.models.embedding import StaticEmbedding
from tasks.problems.forecasting.models.inputs import STUDENT_INPUTS
from tasks.problems.forecasting.models.layout import Layout
from tasks.problems.forecasting.models.normalise import WindowNorm
from tasks.problems.forecasting.models.outputs import OrderedQuantiles, level_outputs, quantile_offsets
from tasks.problems.forecasting.models.patches import Patches
from tasks.problems.forecasting.models.standard import Standard


class PatchOptions(Frozen):
    """`hidden` is the width of a hidden layer beside the linear map, 0 for none. `smooth`: average neighbours first.

    `cycle`: a table of what a season adds to each step ahead, by the place where the forecast begins. `past`: the
    covariates of past steps are seen too (see `PastEffects`).
    """

    hidden: int = Field(default=0, ge=0)
    smooth: bool = True
    cycle: bool = False
    past: bool = False
    embedding: int = Field(default=4, gt=0)


class Patch(FeaturedModel):
    """Each phase of the season is a series of its own, forecast by the same map of steps = context // season numbers.

    SparseTSF (Lin et al. 2024, arXiv:2405.00946): with `smooth`, units plus a convolution over one season around each;
    then one linear map for all phases. Added here: an optional hidden layer, a cycle table (CycleNet, Lin et al. 2024,
    arXiv:2409.18479), effects of the covariates of each step, and a level from scale and static columns. The oldest
    steps that fill no season are left out. Without a hidden layer the features are the map's inputs.
    """

    def __init__(self, options: PatchOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.uses = (*STUDENT_INPUTS, "past") if options.past else STUDENT_INPUTS
        self.layout = layout = Layout.of(contract)
        self.norm = WindowNorm(contract)
        self.standard = Standard(contract, self.uses)
        self.embedding = StaticEmbedding(contract, options.embedding)
        self.patches = Patches(layout.context, layout.season)
        self.seasons = -(-layout.horizon // self.patches.width)
        steps, outputs = self.patches.steps, self.seasons * layout.outputs
        reach = self.patches.width // 2
        self.smooth = nn.Conv1d(1, 1, 2 * reach + 1, padding=reach, bias=False) if options.smooth else None
        self.hidden = nn.Linear(steps, options.hidden) if options.hidden else None
        self.output = nn.Linear(options.hidden, outputs, bias=False) if options.hidden else None
        self.linear = nn.Linear(steps, outputs)
        self.level = nn.Linear(self.norm.told + self.embedding.width, layout.outputs, bias=False)
        self.cycle = nn.Embedding(layout.season, layout.horizon * layout.outputs) if options.cycle else None
        self.effects = nn.Linear(layout.own, layout.outputs, bias=False)
        self.quantiles = OrderedQuantiles(contract)
        self.past_effects = PastEffects(contract) if options.past else None
        self.feature_width = self.patches.width * (options.hidden or steps)
        with torch.no_grad():
            levels = level_outputs(contract).repeat(self.seasons)
            self.linear.weight.copy_(levels[:, None] / steps)
            self.linear.bias.copy_(quantile_offsets(contract)[: layout.outputs].repeat(self.seasons))
            if self.cycle is not None:
                nn.init.zeros_(self.cycle.weight)
            nn.init.zeros_(self.effects.weight)
            nn.init.normal_(self.level.weight, std=0.01)
            for layer in (self.smooth, self.output):
                if layer is not None:
                    nn.init.normal_(layer.weight, std=0.01)

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        values, observed, future, static, *past = self.standard(*inputs)
        centre, scale = self.norm(values, observed)
        units = self.norm.apply_to(values, observed, centre, scale)
        if self.past_effects is not None:
            units = self.past_effects(units, past[0])
        if self.smooth is not None:
            units = units + self.smooth(units.unsqueeze(1)).squeeze(1)
        phases = self.patches(units).transpose(1, 2)
        raw, features = self.linear(phases), phases
        if self.hidden is not None and self.output is not None:
            features = functional.relu(self.hidden(phases))
            raw = raw + self.output(features)
        days = raw.reshape(-1, self.patches.width, self.seasons, self.layout.outputs).transpose(1, 2)
        days = days.reshape(-1, self.seasons * self.patches.width, self.layout.outputs)  # flatten would ask for shapes
        level = self.level(
            torch.cat([self.norm.levels(values, observed, scale), self.embedding(static)], dim=1)
        ).unsqueeze(1)
        if days.shape[1] > self.layout.horizon:
            days = days[:, : self.layout.horizon]
        raw = days + self.effects(future) + level
        if self.cycle is not None:
            raw = raw + self.cycle(static[:, 0]).reshape(-1, self.layout.horizon, self.layout.outputs)
        return self.quantiles(raw.flatten(1), centre, scale), features.flatten(1)


def build_patch(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `Patch` from unvalidated options."""
    return Patch(PatchOptions.model_validate(options), contract)
