"""This student has a linear skip and one small hidden layer over normalised units and projected covariates."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.direct import Direct, Window
from tasks.problems.forecasting.models.resolutions import Resolutions


class LinearMlpOptions(Frozen):
    """`projection` counts the numbers that each future step's covariates are reduced to, beside their direct effects.

    `resolutions` of the look back (see `LookBack`): for long windows, which would have most of the weights.
    `past`: the covariates of past steps are seen too (see `PastEffects`).
    """

    hidden: int = Field(default=48, gt=0)
    embedding: int = Field(default=4, gt=0)
    projection: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    resolutions: Resolutions = ()
    past: bool = False


class LinearMlp(Direct):
    """The representation is one hidden layer. `hidden` and `output` are the layers that pruning may narrow."""

    def __init__(self, options: LinearMlpOptions, contract: FeatureContract) -> None:
        super().__init__(
            contract,
            options.embedding,
            options.dropout,
            projection=options.projection,
            resolutions=options.resolutions,
            past=options.past,
        )
        self.hidden = nn.Linear(self.look_back.width + self.fixed_width + self.known_width, options.hidden)
        self.add_head(options.hidden)

    def represent(self, window: Window) -> Tensor:
        return functional.relu(self.hidden(torch.cat([window.units, *window.fixed, window.known], dim=1)))

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of the hidden layer, for structured pruning."""
        return [(self.hidden, self.output)]


def build_linear_mlp(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `LinearMlp` from unvalidated options."""
    return LinearMlp(LinearMlpOptions.model_validate(options), contract)
