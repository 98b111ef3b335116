"""Losses of labelled rows: hard with the label, soft with the teacher's output. Both count a row by its weight.

Values are compared in multiples of their deviation in training, under rmsle after log(1 + y). A value's quantiles
stand behind it; `SHARE` of their mean loss is added to the value's own.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tasks.problems.base import FeatureContract, HardRows, SoftLoss, SoftRows
from tasks.problems.blocks.class_losses import Kl, Logits, SoftCrossEntropy, cross_entropy

SHARE = 0.1
"""So much do quantiles count beside the value, which the error is of; with more, shared layers serve it worse."""


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


def pinball(contract: FeatureContract) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss (output, labels) -> (n,): SHARE of the mean over quantiles of 2 max(q (y - f), (q - 1)(y - f)).

    Labels are (n, 1), or (n, quantiles) of each. At the median the maximum is the size of the gap (Koenker & Bassett
    1978).
    """
    gap, levels = scaled_gap(contract), contract.settings["options"]["quantiles"]

    def rows(output: Tensor, labels: Tensor) -> Tensor:
        apart, shares = gap(labels, output[:, 1:]), output.new_tensor(levels)
        return SHARE * 2 * torch.maximum(shares * apart, (shares - 1) * apart).mean(dim=1)

    return rows


def hard_loss(contract: FeatureContract) -> HardRows:
    """Return the loss (output, target) -> (n,) that the primary error is the mean of.

    Squares of gaps for rmse and rmsle, sizes of gaps for mae, cross-entropy for log_loss, and for brier the sum over
    classes of (p - [true])^2. A value's quantiles add their `pinball`.
    """
    options = contract.settings["options"]
    error = options["metric"]
    gap = None if options["task"] != "value" else scaled_gap(contract)
    of_quantiles = pinball(contract) if options.get("quantiles") else None

    def rows(output: Tensor, target: Tensor) -> Tensor:
        label, weight = parts(target)
        if gap is not None:
            distance = gap(output[:, 0], label)
            loss = distance.abs() if error == "mae" else distance**2
            return weight * (loss if of_quantiles is None else loss + of_quantiles(output, label[:, None]))
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


class _Gap(SoftLoss):
    """A soft loss of values is made of gaps to the teacher's; of quantiles SHARE of the mean over them counts."""

    @staticmethod
    @abstractmethod
    def of(gap: Tensor) -> Tensor:
        """Return the loss of gaps, of equal shape."""

    def bind(self, contract: FeatureContract) -> SoftRows:
        gap, several = scaled_gap(contract), contract.output_shape[0] > 1

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            loss = self.of(gap(output, teacher))
            each = loss[:, 0] + SHARE * loss[:, 1:].mean(dim=1) if several else loss[:, 0]
            return parts(target)[1] * each

        return rows


class Squared(_Gap):
    """The loss is the squared gap to the teacher's value (Ba & Caruana 2014, arXiv:1312.6184)."""

    @staticmethod
    def of(gap: Tensor) -> Tensor:
        return gap**2


class Absolute(_Gap):
    """The loss is the size of the gap to the teacher's value."""

    @staticmethod
    def of(gap: Tensor) -> Tensor:
        return gap.abs()


class Quantiles(SoftLoss):
    """The hard loss takes the teacher's value, and its quantile of the same level, in the truth's place.

    The least loss is at the teacher's quantile, and a student on its inner side pays more than one on its outer side.
    """

    def bind(self, contract: FeatureContract) -> SoftRows:
        gap, of_quantiles = scaled_gap(contract), pinball(contract)
        absolute = contract.settings["options"]["metric"] == "mae"

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            distance = gap(output[:, 0], teacher[:, 0])
            loss = distance.abs() if absolute else distance**2
            return parts(target)[1] * (loss + of_quantiles(output, teacher[:, 1:]))

        return rows


OF_CLASSES: dict[str, type[SoftLoss]] = {
    "kl": WeightedKl,
    "cross-entropy": WeightedCrossEntropy,
    "logits": WeightedLogits,
}
OF_VALUES: dict[str, type[SoftLoss]] = {"squared": Squared, "absolute": Absolute}
OF_QUANTILES: dict[str, type[SoftLoss]] = {**OF_VALUES, "quantiles": Quantiles}
