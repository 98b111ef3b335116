"""Losses compare class predictions by row: hard with the true class, soft with the teacher's logits (n, classes)."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from tasks.problems.base import FeatureContract, HardRows, SoftLoss, SoftRows


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return (n,) -log softmax(output)[y]; output (n, classes) logits, target (n,) class numbers."""
    return functional.cross_entropy(output, target, reduction="none")


def smoothed(share: float) -> HardRows:
    """Return the cross-entropy with labels of which a `share` is spread evenly over all classes.

    Label smoothing (Szegedy et al. 2016, arXiv:1512.00567).
    """

    def rows(output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target, reduction="none", label_smoothing=share)

    return rows


class Kl(SoftLoss):
    """The loss is T^2 KL(softmax(teacher / T) || softmax(output / T)).

    T^2 keeps the gradient's size when T changes. Hinton, Vinyals & Dean 2015, arXiv:1503.02531.
    """

    temperature: float = Field(default=1.0, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            student, reference = (
                functional.log_softmax(logits / self.temperature, dim=1) for logits in (output, teacher)
            )
            divergence = functional.kl_div(student, reference, reduction="none", log_target=True)
            return self.temperature**2 * divergence.sum(dim=1)

        return rows


class SoftCrossEntropy(SoftLoss):
    """The loss is -T^2 sum softmax(teacher / T) ln softmax(output / T).

    It is `kl` plus the teacher's entropy, with equal gradients.

    As written by Hinton et al. 2015; its size tells how unsure the teacher is.
    """

    temperature: float = Field(default=1.0, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            reference = functional.softmax(teacher / self.temperature, dim=1)
            return -(self.temperature**2) * (reference * functional.log_softmax(output / self.temperature, dim=1)).sum(
                dim=1
            )

        return rows


class Logits(SoftLoss):
    """The loss is the mean squared gap of logits less each side's mean, seen by no probability (Ba & Caruana 2014)."""

    def bind(self, contract: FeatureContract) -> SoftRows:
        def rows(output: Tensor, teacher: Tensor, _target: Tensor) -> Tensor:
            gap = output - teacher
            return ((gap - gap.mean(dim=1, keepdim=True)) ** 2).mean(dim=1)

        return rows


SOFT: dict[str, type[SoftLoss]] = {"kl": Kl, "cross-entropy": SoftCrossEntropy, "logits": Logits}
