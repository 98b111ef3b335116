"""This module defines the error of a forecast by row, and the scale of its parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.problems.base import FeatureContract, HardRows

PRIOR_LEVEL = 0.1


@dataclass(frozen=True)
class Channels:
    """Channels of (n, horizon, C) mean a quantile of each of `levels` and, if `mean`, the expected value.

    `scale`: mean |y| of a step in training, in the target's unit. `positive`: amounts that are never below zero.
    `squared`: the workload's metric is mse, so the one channel is an expected value.
    """

    levels: tuple[float, ...]
    scale: float
    mean: bool = False
    positive: bool = True
    squared: bool = False

    @classmethod
    def of(cls, contract: FeatureContract) -> "Channels":
        """Return the channels of models under this contract."""
        options = contract.settings["options"]
        return cls(
            tuple(options["quantiles"]),
            float(contract.statistics["mean_units"]),
            bool(options.get("mean", False)),
            bool(options.get("positive", True)),
            options.get("metric", "wape") == "mse",
        )

    def errors(self, output: Tensor, label: Tensor, level: Tensor | None = None) -> Tensor:
        """Return (n, horizon, C) error of each channel; label (n, horizon, 1) or (n, horizon, C), both in target units.

        Where the label is NaN, because nothing was observed, there is no error and no gradient.
        Under a squared metric: ((y - f) / scale)^2, the metric itself over the square of the scale. Else
        quantile q: the pinball loss 2 max(q (y - f), (q - 1)(y - f)) / scale (Koenker & Bassett 1978), at the median
        |y - f| / scale. Mean: (y - f)^2 / (scale * level), `level` (n, 1, 1): see `row_level`, by default that of
        `output`.
        """
        count = len(self.levels)
        gap = (label - output).masked_fill(label.isnan(), 0)
        if self.squared:
            return (gap / self.scale) ** 2
        levels = output.new_tensor(self.levels)
        quantiles = gap[..., :count]
        pinball = 2 * torch.maximum(levels * quantiles, (levels - 1) * quantiles) / self.scale
        if not self.mean:
            return pinball
        squared = gap[..., count:] ** 2 / (self.scale * (self.row_level(output) if level is None else level))
        return torch.cat([pinball, squared], dim=2)

    def row_level(self, output: Tensor) -> Tensor:
        """Return (n, 1, 1) the size that squared errors grow with: the row's predicted mean for amounts, else `scale`.

        The prediction is taken without its gradient. The variance of amounts grows with their mean, so this is the
        quasi-likelihood of a Poisson variance (Wedderburn 1974). It still draws the output to the expected value, but
        the largest series do not drown all others, as they would under one scale. A tenth of `scale` is added, so that
        rows without sales count no more than they should.
        """
        if not self.positive:
            return output.new_full((1, 1, 1), self.scale)
        return PRIOR_LEVEL * self.scale + output[..., -1:].detach().abs().mean(dim=1, keepdim=True)

    def rows(self, errors: Tensor) -> Tensor:
        """Return (n,) mean over steps and quantiles, plus the mean channel's mean over steps."""
        count = len(self.levels)
        total = errors[..., :count].mean(dim=(1, 2))
        return total + errors[..., count:].mean(dim=(1, 2)) if self.mean else total


def hard_loss(contract: FeatureContract) -> HardRows:
    """Return the loss of output (n, horizon, C) against target (n, horizon): (n,) `Channels.errors`, averaged."""
    channels = Channels.of(contract)

    def rows(output: Tensor, target: Tensor) -> Tensor:
        return channels.rows(channels.errors(output, target.unsqueeze(2)))

    return rows


def bin_probabilities(values: Tensor, low: Tensor, high: Tensor, levels: Sequence[float], edges: Tensor) -> Tensor:
    """Return (..., bins) probability of each bin between `edges` (..., bins + 1) of a distribution's quantiles.

    values (..., Q): quantiles of `levels`, rising; the mass outside them is spread evenly to `low` and `high` (..., 1).
    The distribution function is interpolated linearly; a step between quantiles that are closer than a bin is as wide
    as a bin, so that the gradient stays finite.
    """
    knots = torch.cat([low, values, high], dim=-1)
    mass = torch.diff(values.new_tensor([0.0, *levels, 1.0]))
    width = torch.maximum(torch.diff(knots, dim=-1), edges[..., 1:2] - edges[..., :1])
    ramps = ((edges.unsqueeze(-1) - knots[..., None, :-1]) / width.unsqueeze(-2)).clamp(0, 1)
    return torch.diff((ramps * mass).sum(dim=-1), dim=-1)
