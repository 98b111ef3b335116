"""This student is linear in the window's units, with effects of static columns and of future days' covariates."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.direct import Direct, Window
from tasks.problems.forecasting.models.resolutions import Resolutions


class LinearOptions(Frozen):
    """`embedding` counts the numbers a static column. `resolutions`: see `LookBack`. `past`: see `PastEffects`."""

    embedding: int = Field(default=4, gt=0)
    resolutions: Resolutions = ()
    past: bool = False


class Linear(Direct):
    """It is a linear map from context to horizon x outputs (Zeng et al. 2023, arXiv:2205.13504), and a weekly cycle.

    There is no hidden layer: the features are scale and static columns, which move the whole forecast.
    """

    def __init__(self, options: LinearOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.embedding, dropout=0.0, resolutions=options.resolutions, past=options.past)
        self.add_head(self.fixed_width)

    def represent(self, window: Window) -> Tensor:
        return torch.cat(window.fixed, dim=1)


def build_linear(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a `Linear` from unvalidated options."""
    return Linear(LinearOptions.model_validate(options), contract)
