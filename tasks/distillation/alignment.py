"""These soft losses compare the inner representations of student and teacher, by row.

A teacher's features are out-of-fold: rows of different folds come from different networks, whose spaces have nothing
in common. So a projector is learned for each fold, and rows are compared with rows of their own fold only.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen, Name
from tasks.problems.blocks.features import MAP_PLACES, Shown

TINY = 1e-12
ANGLE_ROWS = 32


class Alignment(nn.Module):
    """An Alignment maps student (n, s), teacher (n, t), fold (n,) to a loss (n,).

    Its parameters are trained with the student, then dropped.
    """

    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        raise NotImplementedError


class FeatureTerm(Frozen):
    """A FeatureTerm is a kind of alignment. `teacher`: whose features; optional when one teacher alone keeps them.

    `of`: what of a model it compares.
    """

    of: ClassVar[Shown] = "features"

    teacher: Name | None = None

    @abstractmethod
    def build(self, student: int, teacher: int, folds: int) -> Alignment:
        """Return the loss for features of these widths, with fresh weights from torch's global generator."""


class Hint(FeatureTerm):
    """The loss is the mean of (W_fold f + b_fold - t)^2 over the teacher's features, over the batch's mean t^2.

    FitNets' hint loss with a linear regressor (Romero et al. 2015, arXiv:1412.6550).
    """

    def build(self, student: int, teacher: int, folds: int) -> Alignment:
        return _Hint(student, teacher, folds)


class HintMaps(FeatureTerm):
    """The loss is that of `hint` on the maps that the features are made of, with one W_fold for all places.

    That is FitNets' convolutional regressor of 1 × 1 (Romero et al. 2015, arXiv:1412.6550, section 2.2).
    """

    of: ClassVar[Shown] = "maps"

    def build(self, student: int, teacher: int, folds: int) -> Alignment:
        return _HintMaps(student, teacher // MAP_PLACES, folds)


class Similarity(FeatureTerm):
    """The loss compares a row's similarities to the rows of its fold in both networks, by their squared distance.

    Similarities are G_i = f_i F^T / |f_i F^T|.

    Similarity-preserving distillation (Tung & Mori 2019, arXiv:1907.09682), times the batch size, so that the weight
    means the same for every batch size.
    """

    def build(self, student: int, teacher: int, folds: int) -> Alignment:
        return _Similarity()


class Relation(FeatureTerm):
    """The Huber loss compares pairs' distances over their mean, and triplets' cosines, of student and teacher.

    Relational distillation (Park et al. 2019, arXiv:1904.05068), with its 1 : 2 of distance and angle. Triplets are
    taken within runs of 32 rows of the batch, because their number grows with the cube.
    """

    distance: float = Field(default=1.0, ge=0)
    angle: float = Field(default=2.0, ge=0)

    def build(self, student: int, teacher: int, folds: int) -> Alignment:
        return _Relation(self.distance, self.angle)


class Attention(FeatureTerm):
    """The loss is the squared distance of the places' shares of strength, |a_s - a_t|^2 with norms of 1.

    Attention transfer (Zagoruyko & Komodakis 2017, arXiv:1612.03928), of the last maps alone. Folds need no projector:
    a place is the same one in every network.
    """

    of: ClassVar[Shown] = "attention"

    def build(self, student: int, teacher: int, folds: int) -> Alignment:
        return _Attention()


class _Attention(Alignment):
    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        return (student - teacher).square().sum(dim=1)


class _Hint(Alignment):
    def __init__(self, student: int, teacher: int, folds: int) -> None:
        super().__init__()
        self.shape = (folds, teacher)
        self.project = nn.Linear(student, folds * teacher)

    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        projected = self.project(student).reshape(-1, *self.shape)
        own = functional.one_hot(fold, self.shape[0]).to(projected.dtype)
        gap = (projected * own.unsqueeze(2)).sum(dim=1) - teacher
        loss: Tensor = (gap**2).mean(dim=1) / (teacher**2).mean().clamp(min=TINY)
        return loss


class _HintMaps(Alignment):
    def __init__(self, student: int, teacher: int, folds: int) -> None:
        super().__init__()
        self.of_place = _Hint(student, teacher, folds)

    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        count = MAP_PLACES
        ours, theirs = (side.view(len(side), -1, count).transpose(1, 2).flatten(0, 1) for side in (student, teacher))
        loss: Tensor = self.of_place(ours, theirs, fold.repeat_interleave(count)).view(-1, count).mean(dim=1)
        return loss


class _Similarity(Alignment):
    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        together = _same(fold)
        ours, theirs = (functional.normalize(side @ side.T * together, dim=1) for side in (student, teacher))
        return ((ours - theirs) ** 2).sum(dim=1)


class _Relation(Alignment):
    def __init__(self, distance: float, angle: float) -> None:
        super().__init__()
        self.distance, self.angle = distance, angle

    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        loss = student.new_zeros(len(student))
        if self.distance:
            loss = loss + self.distance * _distance_loss(student, teacher, fold)
        if self.angle:
            loss = loss + self.angle * _angle_loss(student, teacher, fold)
        return loss


def _same(fold: Tensor) -> Tensor:
    """Return (…, n, n) whether two rows are of one fold; fold (…, n)."""
    return fold.unsqueeze(-1) == fold.unsqueeze(-2)


def _distance_loss(student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
    """Return (n,) mean Huber loss over the other rows of the fold."""
    pairs = (_same(fold) & ~torch.eye(len(fold), dtype=torch.bool, device=fold.device)).to(student.dtype)
    members = functional.one_hot(fold).to(student.dtype)

    def relative(side: Tensor) -> Tensor:
        squares = (side**2).sum(dim=1)
        gaps = (squares[:, None] + squares - 2 * side @ side.T).clamp(min=TINY).sqrt() * pairs
        total = members.T @ torch.stack([gaps.sum(dim=1), pairs.sum(dim=1)], dim=1)
        mean = members @ (total[:, :1] / total[:, 1:].clamp(min=1))
        return gaps / mean.clamp(min=TINY)

    loss = functional.smooth_l1_loss(relative(student), relative(teacher), reduction="none") * pairs
    return loss.sum(dim=1) / pairs.sum(dim=1).clamp(min=1)


def _angle_loss(student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
    """Return (n,) mean Huber loss of the angles at a row, between each two other rows of its run and fold."""
    count = len(fold)
    empty = -count % ANGLE_ROWS
    runs = functional.pad(fold, (0, empty), value=-1).reshape(-1, ANGLE_ROWS)
    other = ~torch.eye(ANGLE_ROWS, dtype=torch.bool, device=fold.device)
    pairs = _same(runs) & other & (runs >= 0).unsqueeze(2)
    triplets = (pairs.unsqueeze(3) & pairs.unsqueeze(2) & other).to(student.dtype)

    def cosines(side: Tensor) -> Tensor:
        rows = functional.pad(side, (0, 0, 0, empty)).reshape(-1, ANGLE_ROWS, side.shape[1])
        ways = functional.normalize(rows.unsqueeze(1) - rows.unsqueeze(2), dim=3)
        return ways @ ways.transpose(2, 3)

    loss = functional.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none") * triplets
    result: Tensor = (loss.sum(dim=(2, 3)) / triplets.sum(dim=(2, 3)).clamp(min=1)).flatten()[:count]
    return result


ALIGNMENTS: dict[str, type[FeatureTerm]] = {
    "hint": Hint,
    "hint-maps": HintMaps,
    "similarity": Similarity,
    "relation": Relation,
    "attention": Attention,
}
