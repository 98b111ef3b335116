"""The end of every forecasting model: ordered quantiles, the expected value beside them, and their start values."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.models.layout import Layout
from tasks.problems.base import FeatureContract


class OrderedQuantiles(nn.Module):
    """Raw numbers (…, outputs) -> quantiles in rising order and, if there is one, the expected value as it is.

    The number in the median's place is the median; the others are gaps, cut off at zero, that are added up outward
    from it. With `positive`, outputs below zero become zero. One Max and one MatMul in the graph.
    """

    floor: Tensor
    sums: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.positive = layout.positive
        median, count = layout.median, layout.outputs
        floor, sums = torch.zeros(count), torch.eye(count)
        floor[torch.tensor(layout.levels) > 0] = -torch.inf
        sums[median, : len(layout.quantiles)] = 1
        for place in range(len(layout.quantiles)):
            if place < median:
                sums[place, : place + 1] = -1
            if place > median:
                sums[place, place : len(layout.quantiles)] = 1
        self.register_buffer("floor", floor, persistent=False)
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, raw: Tensor) -> Tensor:
        ordered = torch.maximum(raw, self.floor) @ self.sums
        return functional.relu(ordered) if self.positive else ordered


def quantile_offsets(contract: FeatureContract) -> Tensor:
    """(horizon * outputs,) start values of a head's bias: levels 0, each gap half the window's scale."""
    layout = Layout.of(contract)
    return (0.5 * (1 - torch.tensor(layout.levels))).repeat(layout.horizon)


def seasonal_average(contract: FeatureContract) -> Tensor:
    """(horizon, context) start values of a linear skip: half the same season's steps, half the overall average.

    A context shorter than the season, or a season of one step, leaves the overall average alone.
    """
    layout = Layout.of(contract)
    if layout.season > layout.context:
        return torch.full((layout.horizon, layout.context), 1 / layout.context)
    step, lag = torch.arange(layout.horizon)[:, None], torch.arange(-layout.context, 0)[None, :]
    same = ((step - lag) % layout.season == 0).float()
    return 0.5 * same / same.sum(dim=1, keepdim=True) + 0.5 / layout.context
