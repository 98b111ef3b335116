"""These ways weigh truth and teacher while a student trains, where a fixed alpha or a schedule would have to be found.

`alpha` stays a number: what each way makes of it stands with its kind.
"""

import math

import torch
from torch import Tensor, nn

from tasks.core.config import Frozen


class Adaptation(Frozen):
    """An Adaptation is a way to weigh the losses of truth and teacher; it has no options of its own."""


class Gap(Adaptation):
    """The teacher counts as much as the student has to learn from it, row by row, in every step.

    Its weight is (1 - alpha) (1 - exp(-s / t)), s and t the losses of student and teacher against the truth, without
    gradient: 1 - alpha where the student is far behind, 0.63 of that where both are equal, 0 where the student is right
    (weighted soft labels, Zhou et al. 2021, arXiv:2102.00650). Rows that were made have no truth: 1 - alpha there.
    """


class Correctness(Adaptation):
    """The teacher's weight is (1 - alpha) min(1, naive loss / teacher's loss) of the row, by out-of-fold outputs.

    The truth takes the rest: a student follows its teacher where that was right, else the truth (conditional
    teacher-student learning, Meng et al. 2019, arXiv:1904.12399, without its threshold).
    """


class Learned(Adaptation):
    """Both weights are learned with the student, as 1 / its own uncertainty (Kendall et al. 2018, arXiv:1705.07115).

    They begin at alpha and 1 - alpha; see `Balance`.
    """


LEAST = 0.02
"""A share of all below it lies outside of a Balance's limits, where nothing is learned."""


class Balance(nn.Module):
    """A Balance maps the mean losses of truth and teacher, each (), to (v hard + w soft - log v - log w) / (v + w).

    Of a part of a batch they are its `portion` of the means, and so is the result: parts add up.

    v and w are the exponentials of learned numbers; the divisor has no gradient. Left alone they come to 1 / hard and
    1 / soft, so that both losses count alike, and by the divisor steps are as large as those of a fixed alpha. They
    keep within e^±LIMIT: a soft loss that goes to 0 must not take all the weight.
    """

    LIMIT = 4.0

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.logs = nn.Parameter(torch.tensor([math.log(alpha), math.log(1 - alpha)]))

    @property
    def alpha(self) -> float:
        """Return the weight of the truth, as a share of both."""
        return float(torch.softmax(self._bounded().detach(), 0)[0])

    def forward(self, hard: Tensor, soft: Tensor, portion: float = 1.0) -> Tensor:
        logs = self._bounded()
        weights = logs.exp()
        total: Tensor = (weights[0] * hard + weights[1] * soft - portion * logs.sum()) / weights.detach().sum()
        return total

    def _bounded(self) -> Tensor:
        return self.logs.clamp(-self.LIMIT, self.LIMIT)


def shortfall(student: Tensor, teacher: Tensor) -> Tensor:
    """Return (n,) 1 - exp(-student / teacher) of losses (n,), without gradient; 0 where both are 0."""
    tiny = torch.finfo(student.dtype).tiny
    return -torch.expm1(-student.detach().clamp(min=0) / teacher.detach().clamp(min=tiny))


ADAPTATIONS: dict[str, type[Adaptation]] = {"gap": Gap, "correctness": Correctness, "learned": Learned}
