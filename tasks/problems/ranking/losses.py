"""Losses are over the whole catalogue, without the items that a user had, which are no answer."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from tasks.problems.base import FeatureContract, SoftLoss, SoftRows

NO_ANSWER = -1e9


def answers(scores: Tensor, target: Tensor) -> Tensor:
    """Return (n, items) scores with NO_ANSWER for what the user had; target (n, items): 1 came, -1 was had."""
    return scores.masked_fill(target < 0, NO_ANSWER)


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Return (n,) -log softmax of the item that came; 0 where it is none of the catalogue, which teaches nothing."""
    came = target == 1
    found = functional.cross_entropy(answers(output, target), came.int().argmax(dim=1), reduction="none")
    return found.where(came.any(dim=1), 0.0)


def sampled_cross_entropy(right: Tensor, others: Tensor, same: Tensor, catalogue: int) -> Tensor:
    """Return (n,) -log of what came's share of the catalogue, which is estimated from drawn items.

    `right` (n,): scores of what came; `others` (n, drawn): of items drawn with equal chances; `same` (n, drawn): which
    of these is what came, and so no other. Each other one stands for as many of the catalogue as makes the sum of
    exponents right on average (sampled softmax, Jean et al. 2015, arXiv:1412.2007).
    """
    counted = (~same).sum(dim=1, keepdim=True).clamp(min=1)
    others = others.masked_fill(same, NO_ANSWER) + torch.log((catalogue - 1) / counted)
    return torch.logaddexp(right, others.logsumexp(dim=1)) - right


class Shares(SoftLoss):
    """The loss is T^2 KL of the teacher's and the student's shares of the whole catalogue (Hinton et al. 2015)."""

    temperature: float = Field(default=1.0, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            mine, theirs = (
                functional.log_softmax(answers(scores, target) / self.temperature, dim=1)
                for scores in (output, teacher)
            )
            divergence: Tensor = (theirs.exp() * (theirs - mine)).sum(dim=1)
            return self.temperature**2 * divergence

        return rows


class TopItems(SoftLoss):
    """The loss is the cross-entropy of the teacher's shares over its `top` items and the student's own `top` items.

    The student's own keep it from ranking high what the teacher does not (arXiv:2509.20989). Of the whole catalogue
    most items are alike, and what the teacher says of them is noise.
    """

    top: int = Field(default=50, gt=0)
    temperature: float = Field(default=1.0, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        count = min(self.top, contract.output_shape[0])

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            mine, theirs = answers(output, target), answers(teacher, target)
            chosen = torch.zeros_like(mine, dtype=torch.bool)
            for scores in (mine.detach(), theirs):
                chosen.scatter_(1, scores.topk(count, dim=1).indices, value=True)
            mine, theirs = (scores.masked_fill(~chosen, NO_ANSWER) / self.temperature for scores in (mine, theirs))
            shares = functional.softmax(theirs, dim=1)
            return -(self.temperature**2) * (shares * functional.log_softmax(mine, dim=1)).sum(dim=1)

        return rows


class RelaxedRanking(SoftLoss):
    """The loss is how unlikely the student finds the order of the teacher's `top` items, ahead of `others`.

    Of these, evenly spread over the teacher's order of the rest, the order does not matter: relaxed ranking
    distillation of DE-RRD (Kang et al. 2020, arXiv:2012.04357), with the others fixed instead of drawn.
    """

    top: int = Field(default=20, gt=0)
    others: int = Field(default=100, gt=0)

    def bind(self, contract: FeatureContract) -> SoftRows:
        size = contract.output_shape[0]
        count = min(self.top, size)

        def rows(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
            mine = answers(output, target)
            order = answers(teacher, target).argsort(dim=1, descending=True)
            rest = torch.linspace(count, size - 1, min(self.others, size - count), device=order.device).long()
            best = mine.gather(1, order[:, :count])
            behind = mine.gather(1, order[:, rest]).logsumexp(dim=1, keepdim=True) if len(rest) else None
            after = best.flip(1).logcumsumexp(dim=1).flip(1)
            if behind is not None:
                after = torch.logaddexp(after, behind)
            answered = (best > NO_ANSWER / 2).float()
            return ((after - best) * answered).sum(dim=1) / count

        return rows


SOFT: dict[str, type[SoftLoss]] = {"shares": Shares, "top-items": TopItems, "relaxed-ranking": RelaxedRanking}
