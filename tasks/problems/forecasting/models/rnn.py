"""These students are tiny Elman networks over the window's seasons, of units alone or of covariates beside them."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.direct import Direct, Window, known_steps
from tasks.problems.forecasting.models.inputs import ALL_INPUTS
from tasks.problems.forecasting.models.patches import Patches
from tasks.problems.forecasting.models.resolutions import Resolutions


class NetworkOptions(Frozen):
    """`hidden` is the width of the network that reads the units, `patch` the steps that it reads at once: a season."""

    hidden: int = Field(default=16, gt=0)
    embedding: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    patch: int | None = Field(default=None, gt=0)


class RnnOptions(NetworkOptions):
    """`past` says whether the covariates of past steps are seen too (see `PastEffects`). `resolutions`: see `LookBack`.

    `skip`: whether there is a linear map from the window to the outputs beside the network.
    """

    past: bool = False
    resolutions: Resolutions = ()
    skip: bool = True


class MultiRnnOptions(NetworkOptions):
    """`covariates` is the width of the network that reads the covariates."""

    covariates: int = Field(default=8, gt=0)


class Recurrence(nn.Module):
    """Map (n, length, channels) to (n, hidden): h_t = tanh(W x_t + U h_(t-1) + b) at the last patch (Elman 1990)."""

    def __init__(self, patches: Patches, hidden: int) -> None:
        super().__init__()
        self.patches = patches
        self.cells = nn.RNN(patches.width, hidden, batch_first=True)

    def forward(self, series: Tensor) -> Tensor:
        states, _ = self.cells(self.patches(series))
        last: Tensor = states[:, -1]
        return last


class Rnn(Direct):
    """The representation is the network's last state, with scale and static columns beside it."""

    def __init__(self, options: RnnOptions, contract: FeatureContract) -> None:
        super().__init__(
            contract,
            options.embedding,
            options.dropout,
            resolutions=options.resolutions,
            past=options.past,
            skip=options.skip,
        )
        self.past = Recurrence(Patches(self.look_back.width, options.patch or self.layout.season), options.hidden)
        self.add_head(options.hidden + self.fixed_width)

    def represent(self, window: Window) -> Tensor:
        return torch.cat([self.past(window.units), *window.fixed], dim=1)


class MultiRnn(Direct):
    """MultiRnn has two networks: one reads the units of the past, the other the covariates of past and future."""

    uses = ALL_INPUTS

    def __init__(self, options: MultiRnnOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.embedding, options.dropout)
        layout = self.layout
        length = options.patch or layout.season
        self.past = Recurrence(Patches(layout.context, length), options.hidden)
        steps = Patches(layout.context + layout.horizon, length, layout.told)
        self.known = Recurrence(steps, options.covariates)
        self.add_head(options.hidden + options.covariates + self.fixed_width)

    def represent(self, window: Window) -> Tensor:
        known = known_steps(window)
        return torch.cat([self.past(window.units), self.known(known), *window.fixed], dim=1)


def build_rnn(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build an `Rnn` from unvalidated options."""
    return Rnn(RnnOptions.model_validate(options), contract)


def build_multi_rnn(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `MultiRnn` from unvalidated options."""
    return MultiRnn(MultiRnnOptions.model_validate(options), contract)
