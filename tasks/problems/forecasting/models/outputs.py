"""Every forecasting model ends here: raw numbers become ordered quantiles in units. First weights are here too."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.layout import Layout

GAP = 0.5


class _Lifted(torch.autograd.Function):
    """It computes max(raw, floor); its gradient reaches cut-off numbers as well, if a step along it would lift them.

    With the plain gradient, numbers that are cut off in every row never come back, and the quantiles stay one.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, floor: Tensor) -> Tensor:
        ctx.save_for_backward(raw < floor)
        return torch.maximum(raw, floor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (below,) = gradients, ctx.saved_tensors
        return gradient.masked_fill(below & (gradient > 0), 0), None


class OrderedQuantiles(nn.Module):
    """It maps raw (n, horizon * outputs), centre and scale (n, 1) to (n, horizon, outputs) in units.

    The first number of a step is its lowest quantile; those that follow are gaps, cut off at zero, that are added to
    it one by one, so the quantiles rise. The expected value, if there is one, is a number of its own. All take
    the scale and the centre of the window. With `positive`, outputs below zero become zero.
    The sums are a matrix product of two steps at a time, where the horizon is even: a product of a few numbers by as
    many takes ONNX Runtime twice as long.
    """

    floor: Tensor
    sums: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        self.layout = layout = Layout.of(contract)
        count = len(layout.quantiles)
        floor, sums = torch.zeros(layout.outputs), torch.eye(layout.outputs)
        floor[0] = floor[count:] = -torch.inf
        sums[:count, :count] = torch.ones(count, count).triu()
        together = 1 if layout.horizon % 2 else 2
        self.register_buffer("floor", floor.repeat(together), persistent=False)
        self.register_buffer("sums", torch.kron(torch.eye(together), sums), persistent=False)

    def forward(self, raw: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
        layout = self.layout
        at_zero = layout.positive and not layout.centred
        several = len(layout.quantiles) > 1
        uncut = at_zero or several
        if self.training and uncut:
            floor = torch.zeros_like(self.floor) if at_zero else self.floor
            cut: Tensor = _Lifted.apply(raw.reshape(-1, len(floor)), floor)  # type: ignore[no-untyped-call]
            raw, uncut = cut.reshape(raw.shape), False
        values = (functional.relu(raw) if at_zero and uncut else raw) * scale
        if several:
            steps = values.reshape(-1, len(self.sums))
            values = (torch.maximum(steps, self.floor) if uncut and not at_zero else steps) @ self.sums
        if layout.centred:
            values = values.reshape(-1, layout.horizon * layout.outputs) + centre
            values = functional.relu(values) if layout.positive else values
        return values.reshape(-1, layout.horizon, layout.outputs)


def level_outputs(contract: FeatureContract) -> Tensor:
    """Return (outputs,) 1 where a raw number is a level (lowest quantile, expected value), 0 where it is a gap."""
    layout = Layout.of(contract)
    return torch.tensor([float(place in (0, len(layout.quantiles))) for place in range(layout.outputs)])


def quantile_offsets(contract: FeatureContract) -> Tensor:
    """Return (horizon * outputs,) start values of a head's bias: gaps of half the window's scale, median at zero."""
    layout = Layout.of(contract)
    offsets = GAP * (1 - level_outputs(contract))
    offsets[0] = -GAP * layout.median
    return offsets.repeat(layout.horizon)


def seasonal_average(contract: FeatureContract) -> Tensor:
    """Return (horizon, context) start values of a linear skip: half the season's steps, half the overall average.

    A context shorter than the season, or a season of one step, leaves the overall average alone. Of values whose
    volatility is what can be told, such as returns, there is none: zeros.
    """
    layout = Layout.of(contract)
    if layout.half_lives:
        return torch.zeros(layout.horizon, layout.context)
    if layout.season > layout.context:
        return torch.full((layout.horizon, layout.context), 1 / layout.context)
    step, lag = torch.arange(layout.horizon)[:, None], torch.arange(-layout.context, 0)[None, :]
    same = ((step - lag) % layout.season == 0).float()
    return 0.5 * same / same.sum(dim=1, keepdim=True) + 0.5 / layout.context
