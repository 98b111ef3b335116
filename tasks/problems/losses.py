"""Training losses, hard and soft, each with its formula and source. All are means over the batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def pinball(output: Tensor, target: Tensor, quantiles: Sequence[float], scale: float) -> Tensor:
    """Mean over rows, days and quantiles of 2 max(q (y - f), (q - 1)(y - f)) / scale.

    output (n, horizon, Q), target (n, horizon), both in units; `scale`: average units of a day. At the median this is
    |y - f| / scale, whose mean is the WAPE when `scale` is the mean of |y|. Koenker & Bassett 1978.
    """
    gap = target.unsqueeze(2) - output
    levels = output.new_tensor(list(quantiles))
    return 2 * torch.maximum(levels * gap, (levels - 1) * gap).mean() / scale


def soft_quantile(output: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """Mean of |f - t| / scale between the student's and the teacher's quantiles, both (n, horizon, Q) in units.

    Level by level: the 1-Wasserstein distance of two distributions given by the same quantiles, up to the levels'
    spacing. It stands in the unit of `pinball`, so that `alpha` weighs like with like.
    """
    return (output - teacher).abs().mean() / scale


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean of -log softmax(output)[y]; output (n, classes) logits, target (n,) class numbers."""
    return functional.cross_entropy(output, target)


def kl_temperature(output: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(output / T)), mean over rows; both (n, classes) logits.

    T^2 keeps the gradient's size when T changes. Hinton, Vinyals & Dean 2015, arXiv:1503.02531.
    """
    student = functional.log_softmax(output / temperature, dim=1)
    reference = functional.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, reference, reduction="batchmean", log_target=True)
