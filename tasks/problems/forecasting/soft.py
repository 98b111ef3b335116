"""Soft losses compare a student's outputs (n, horizon, C) with its teacher's, by row.

All but `distribution`, `gaussian` and `soft-labels` (nats) stand in the unit of the hard loss, so that `alpha` weighs
like with like.
"""

import math
from statistics import NormalDist

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from tasks.problems.base import FeatureContract, SoftLoss, SoftRows
from tasks.problems.forecasting.losses import Channels, bin_probabilities

TINY = 1e-8
BEYOND = 1000.0


class Absolute(SoftLoss):
    """The loss is the mean of |f - t| / scale, level by level.

    It is the 1-Wasserstein distance of two distributions given by the same quantiles, up to the levels' spacing.
    """

    def bind(self, contract: FeatureContract) -> SoftRows:
        scale = Channels.of(contract).scale

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            return (output - teacher).abs().mean(dim=(1, 2)) / scale

        return rows


class Squared(SoftLoss):
    """The loss is the mean of ((f - t) / scale)^2 (Ba & Caruana 2014, arXiv:1312.6184)."""

    def bind(self, contract: FeatureContract) -> SoftRows:
        scale = Channels.of(contract).scale

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            return (((output - teacher) / scale) ** 2).mean(dim=(1, 2))

        return rows


class Pinball(SoftLoss):
    """The hard loss takes the teacher's quantile of the same level in the truth's place.

    The least loss is at the teacher's quantile, and a student on its inner side pays more than one on its outer side.
    """

    def bind(self, contract: FeatureContract) -> SoftRows:
        channels = Channels.of(contract)

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            return channels.rows(channels.errors(output, teacher))

        return rows


class Bounded(SoftLoss):
    """The hard loss counts where the student's error plus `margin` is above the teacher's (teacher-bounded regression).

    e(f, y) if e(f, y) + margin > e(t, y), else 0, for each step and channel: the teacher is an upper bound, not an
    aim (Chen et al. 2017, "Learning Efficient Object Detection Models with Knowledge Distillation", section 3.3).
    """

    margin: float = Field(default=0.0, ge=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        channels = Channels.of(contract)

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            truth = target.unsqueeze(2)
            level = channels.row_level(output) if channels.mean else None
            own, theirs = (channels.errors(values, truth, level) for values in (output, teacher))
            return channels.rows(own * (own + self.margin > theirs))

        return rows


class Residual(SoftLoss):
    """The hard loss takes labels that hold a share of the teacher's residual: t + keep (y - t).

    The mixed labels of Das & Sanghavi 2023 (arXiv:2301.13304): the teacher takes noise out of the truth. Each quantile
    has its own label; a right teacher's is the quantile of its labels again, because the map from y rises.
    """

    keep: float = Field(default=0.5, ge=0, lt=1)

    def bind(self, contract: FeatureContract) -> SoftRows:
        channels = Channels.of(contract)

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            return channels.rows(channels.errors(output, teacher + self.keep * (target.unsqueeze(2) - teacher)))

        return rows


class Distribution(SoftLoss):
    """The loss is KL(teacher || student) of the predictive distributions, in `bins` by step: sum p_t ln(p_t / p_s).

    The quantiles give a distribution function by linear interpolation; its grid spans both sides' quantiles and half
    of that span beyond, and the outer mass is spread evenly to its ends, so that the student has some in every bin.
    A distribution far off the teacher's is widened towards it rather than moved, so keep a hard loss beside it.
    Discretised regression targets after Imani & White 2018 (arXiv:1806.04613). The mean, if there is one, is compared
    by the hard loss's squared error. A single output pulls to the teacher too, but with a strength that does not grow
    with the gap, because the grid grows with it: other kinds suit it better.
    """

    bins: int = Field(default=16, ge=4, le=512)

    def bind(self, contract: FeatureContract) -> SoftRows:
        channels = Channels.of(contract)
        count = len(channels.levels)
        least = channels.scale / 100

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            both = torch.cat([output[..., :count].detach(), teacher[..., :count]], dim=2)
            low, high = both.amin(dim=2, keepdim=True), both.amax(dim=2, keepdim=True)
            beyond = (0.5 * (high - low)).clamp(min=least)
            low, high = low - beyond, high + beyond
            steps = torch.linspace(0, 1, self.bins + 1, device=output.device)
            edges = low + (high - low) * steps
            ours, theirs = (
                bin_probabilities(values[..., :count], low, high, channels.levels, edges).clamp(min=TINY)
                for values in (output, teacher)
            )
            divergence = (theirs * (theirs.log() - ours.log())).sum(dim=2).mean(dim=1)
            return divergence + _of_means(channels, output, teacher)

        return rows


class Gaussian(SoftLoss):
    """The loss is KL(teacher || student) of normal distributions that the quantiles imply, for each step.

    ln(s / t) + (t^2 + (m_t - m_s)^2) / (2 s^2) - 1/2 (Kullback & Leibler 1951), m the median, s and t the deviations of
    student and teacher: how far the outermost quantiles are apart, over how far those of N(0, 1) are. A hundredth of
    the training's scale is added to both, in squares; a single output has that scale for its deviation. The mean is
    compared as in `distribution`.
    """

    def bind(self, contract: FeatureContract) -> SoftRows:
        channels = Channels.of(contract)
        levels = channels.levels
        middle, normal = levels.index(0.5), NormalDist()
        spread = normal.inv_cdf(levels[-1]) - normal.inv_cdf(levels[0]) or 1.0
        least = (channels.scale / (100 if len(levels) > 1 else 1)) ** 2

        def variance(values: Tensor) -> Tensor:
            return ((values[..., len(levels) - 1] - values[..., 0]) / spread) ** 2 + least

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            ours, theirs = variance(output), variance(teacher)
            apart = (teacher[..., middle] - output[..., middle]) ** 2
            divergence = 0.5 * ((ours / theirs).log() + (theirs + apart) / ours - 1).mean(dim=1)
            return divergence + _of_means(channels, output, teacher)

        return rows


class SoftLabels(SoftLoss):
    """The loss is the cross-entropy of soft labels: chances of `bins` of the target's scale, less its least value.

    sum p_t ln(p_t / p_s) for each step, with the gradients of -sum p_t ln p_s. The bins are the same for all rows: of
    equal width from zero (of signed values, from below it) to `reach` times the mean size of a value in training; the
    outer ones hold all beyond. A side's chances are those of a discretised logistic distribution (Salimans et al. 2017,
    arXiv:1701.05517) with its median and the distance of its outermost quantiles; a quarter of a bin is added to the
    scale, in squares. A teacher's chances as labels: Hinton et al. 2015 (arXiv:1503.02531); classes of a discretised
    target: Imani & White 2018 (arXiv:1806.04613). The mean is compared as in `distribution`.
    """

    bins: int = Field(default=32, ge=4, le=512)
    reach: float = Field(default=4.0, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        channels = Channels.of(contract)
        levels, far = channels.levels, self.reach * channels.scale
        low = 0.0 if channels.positive else -far
        width = (far - low) / self.bins
        inner = torch.linspace(low, far, self.bins + 1)[1:-1]
        edges = torch.cat([inner.new_tensor([-BEYOND * far]), inner, inner.new_tensor([BEYOND * far])])
        apart = math.log(levels[-1] / (1 - levels[-1])) - math.log(levels[0] / (1 - levels[0])) or 1.0

        def log_chances(values: Tensor) -> Tensor:
            median = values[..., levels.index(0.5)].unsqueeze(2)
            spread = (values[..., len(levels) - 1] - values[..., 0]).unsqueeze(2) / apart
            places = (edges.to(values.device) - median) / (spread**2 + (width / 4) ** 2).sqrt()
            below, above = places[..., :-1], places[..., 1:]
            # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), of which none vanishes far away
            between = torch.log(-torch.expm1((below - above).clamp(max=-TINY)))
            return functional.logsigmoid(above) + functional.logsigmoid(-below) + between

        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            ours, theirs = log_chances(output), log_chances(teacher)
            entropy = (theirs.exp() * (theirs - ours)).sum(dim=2).mean(dim=1)
            return entropy + _of_means(channels, output, teacher)

        return rows


def _of_means(channels: Channels, output: Tensor, teacher: Tensor) -> Tensor:
    """Return (n,) the hard loss's squared error of the mean channel, zero without one."""
    if not channels.mean:
        return output.new_zeros(len(output))
    return channels.errors(output, teacher)[..., len(channels.levels) :].mean(dim=(1, 2))


SOFT: dict[str, type[SoftLoss]] = {
    "absolute": Absolute,
    "squared": Squared,
    "pinball": Pinball,
    "bounded": Bounded,
    "residual": Residual,
    "distribution": Distribution,
    "gaussian": Gaussian,
    "soft-labels": SoftLabels,
}
