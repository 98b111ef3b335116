"""This module moves the weight of the truth while a student trains."""

import math
from abc import abstractmethod

from pydantic import Field

from tasks.core.config import Frozen


class Schedule(Frozen):
    """The weight moves from `from` at the first step to the student's own alpha at the last.

    Starting below alpha follows the teacher first and the truth later (annealing, Jafari et al. 2021,
    arXiv:2104.07163).
    """

    start: float = Field(alias="from", ge=0, le=1)

    def alpha(self, end: float, done: float) -> float:
        """Return the weight of the truth when the share `done` (0 … 1) of the steps is past."""
        return end + (self.start - end) * self.left(done)

    @abstractmethod
    def left(self, done: float) -> float:
        """Return the share of the way that is still to go: 1 at the start, 0 at the end."""


class Linear(Schedule):
    """The weight moves in equal steps."""

    def left(self, done: float) -> float:
        return 1 - done


class Cosine(Schedule):
    """The weight moves along half a cosine: slow at both ends."""

    def left(self, done: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * done))


SCHEDULES: dict[str, type[Schedule]] = {"linear": Linear, "cosine": Cosine}
