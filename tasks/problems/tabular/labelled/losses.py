"""Losses of labelled rows: hard with the label, soft with the teacher's output. Both count a row by its weight.

Values are compared in multiples of their deviation in training, under rmsle after log(1 + y).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tasks.problems.base import FeatureContract, HardRows, SoftLoss, SoftRows
from tasks.problems.blocks.class_losses import Kl, Logits, SoftCrossEntropy, cross_entropy


def parts(target: Tensor) -> tuple[Tensor, Tensor | float]:
    """Return (n,) labels, and their weights; target (n,) or (n, 2) with the weight second."""
    return (target[:, 0], target[:, 1]) if target.dim() == 2 else (target, 1.0)


def scaled_gap(contract: FeatureContract) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (values, others) -> (n,) gaps in multiples of the deviation."""
    spread = float(contract.statistics["spread"])
    logarithmic = contract.settings["options"]["metric"] == "rmsle"

    def gap(values: Tensor, others: Tensor) -> Tensor:
        if logarithmic:
            values, others = torch.log1p(values.clamp(min=0)), torch.log1p(others.clamp(min=0))
        return (values - others) / spread

    return gap


def hard_loss(contract: FeatureContract) -> HardRows:
    """Return the loss (output, target) -> (n,) that the primary error is the mean of.

    Squares of gaps for rmse and rmsle, sizes of gaps for mae, cross-entropy for log_loss, and for brier the sum over
    classes of (p - [true])^2.
    """
    options = contract.settings["options"]
    error = options["metric"]
    gap = None if options["task"] != "value" else scaled_gap(contract)

    def rows(output: Tensor, target: Tensor) -> Tensor:
        label, weight = parts(target)
        if gap is not None:
            distance = gap(output[:, 0], label)
            return weight * (distance.abs() if error == "mae" else distance**2)
        if error == "brier":
            truth = functional.one_hot(label.long(), output.shape[1])
            return weight * ((functional.softmax(output, dim=1) - truth) ** 2).sum(dim=1)
        return weight * cross_entropy(output, label.long())

    return rows


class _Weighted(SoftLoss):
    """A soft loss of classes counts each row by its weight."""

    def bind(self, contract: FeatureContract) -> SoftRows:
        plain = super().bind(contract)  # type: ignore[safe-super]  # of the class of losses that stands second

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            return parts(target)[1] * plain(output, teacher, target)

        return rows


class WeightedKl(_Weighted, Kl):
    """The loss is that of `kl`, by weight."""


class WeightedCrossEntropy(_Weighted, SoftCrossEntropy):
    """The loss is that of `cross-entropy`, by weight."""


class WeightedLogits(_Weighted, Logits):
    """The loss is that of `logits`, by weight."""


class Squared(SoftLoss):
    """The loss is the squared gap to the teacher's value (Ba & Caruana 2014, arXiv:1312.6184)."""

    def bind(self, contract: FeatureContract) -> SoftRows:
        gap = scaled_gap(contract)

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            return parts(target)[1] * gap(output[:, 0], teacher[:, 0]) ** 2

        return rows


class Absolute(SoftLoss):
    """The loss is the size of the gap to the teacher's value."""

    def bind(self, contract: FeatureContract) -> SoftRows:
        gap = scaled_gap(contract)

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            return parts(target)[1] * gap(output[:, 0], teacher[:, 0]).abs()

        return rows


OF_CLASSES: dict[str, type[SoftLoss]] = {
    "kl": WeightedKl,
    "cross-entropy": WeightedCrossEntropy,
    "logits": WeightedLogits,
}
OF_VALUES: dict[str, type[SoftLoss]] = {"squared": Squared, "absolute": Absolute}
