"""This module defines the case that a gate judges, and the interface of a gate of another package."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tasks.compression.timing import Latency
from tasks.core.config import Frozen
from tasks.gates.champion import Champion
from tasks.gates.drift import DriftFound
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.options import Gates
from tasks.gates.result import GateResult
from tasks.problems.base import Batches, Floats, Score


@dataclass(frozen=True)
class Candidate:
    """A Candidate holds a recipe's files. `model`: bytes of model.onnx, None if there are none; `about`: about.json."""

    name: str
    model: bytes | None
    about: Mapping[str, Any]

    @property
    def valid_error(self) -> float:
        """Return the error on the validation split, NaN if it is not stated."""
        value = self.about.get("valid_error")
        return float(value) if isinstance(value, int | float) else math.nan

    @property
    def of(self) -> str | None:
        """Return the candidate that this one was made from again, with newer rows; None for most."""
        value = self.about.get("of")
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Opponents:
    """Opponents are compared with the candidate on the same rows. `naive`/`teacher` None: it could not be measured.

    `drift`: of tonight's data since the champion's release.
    """

    naive: Score | None
    teacher: Score | None
    champion: Champion
    drift: DriftFound = field(default_factory=DriftFound)


@dataclass(frozen=True)
class Case:
    """A Case is a candidate that runs, with all that was measured of it.

    `output`, `score`: of `model` on the evaluation set. `disturbed`: the evaluation inputs under each of
    `gates.robustness`. `latency`: None if it could not be measured, for the reason `latency_note`.
    """

    candidate: Candidate
    model: bytes
    output: Floats
    score: Score
    evaluation: EvaluationSet
    opponents: Opponents
    gates: Gates
    disturbed: Sequence[Batches] = ()
    seed: int = 0
    latency: Latency | None = None
    latency_note: str = ""


class Gate(Frozen):
    """A Gate is a rule that another package adds to the mandatory ones, named in `gates.further`.

    Its fields are its options. Its results are named `kind`, or `kind/…` where there are several. Whatever it raises
    refuses the candidate.
    """

    kind: ClassVar[str]

    @abstractmethod
    def judge(self, case: Case) -> list[GateResult]:
        """Return one result or several of a candidate; none at all refuses it."""
