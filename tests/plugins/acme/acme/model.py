"""A model: one linear layer over all numbers of a row."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract


class Options(Frozen):
    """`scale`: what inputs are divided by before they are weighed."""

    scale: float = Field(default=1.0, gt=0)


class Line(nn.Module):
    """Its forward takes the contract's inputs in order."""

    def __init__(self, options: Options, contract: FeatureContract) -> None:
        super().__init__()
        self.scale, self.shape = options.scale, contract.output_shape
        sizes = [int(torch.tensor(shape).prod()) for _, shape in contract.inputs.values()]
        self.output = nn.Linear(sum(sizes), int(torch.tensor(self.shape).prod()))

    def forward(self, *inputs: Tensor) -> Tensor:
        flat = torch.cat([values.flatten(1).float() for values in inputs], dim=1)
        values: Tensor = self.output(flat / self.scale)
        return values.reshape(-1, *self.shape)


def build_line(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """A model with fresh weights from unvalidated options."""
    return Line(Options.model_validate(options), contract)
