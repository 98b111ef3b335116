"""Accuracy gate: absolute, against the naive baseline, against the teacher, and paired against the champion."""

import numpy as np
from numpy.typing import NDArray

from tasks.config import AccuracyGate
from tasks.gates.champion import Champion
from tasks.gates.comparison import compare
from tasks.gates.result import GateResult, at_most, refused
from tasks.problems.base import Score


def absolute(candidate: str, score: Score, gate: AccuracyGate) -> GateResult:
    """The error itself."""
    return at_most("accuracy/absolute", candidate, score.error, gate.limit, f"error at most {gate.limit:g}")


def against_naive(candidate: str, score: Score, naive: Score | None, gate: AccuracyGate) -> GateResult:
    """Better than the naive baseline by a margin."""
    limit = (1 - gate.naive_margin) * _error(naive)
    rule = f"error at least {gate.naive_margin:.4g} below the naive baseline's, relatively"
    return at_most("accuracy/naive", candidate, score.error, limit, rule, f"naive {_error(naive):.6g}")


def against_teacher(candidate: str, score: Score, teacher: Score | None, gate: AccuracyGate) -> GateResult:
    """Nearly as good as the teachers' ensemble."""
    limit = gate.retention * _error(teacher)
    rule = f"error at most {gate.retention:g} times the teachers'"
    return at_most("accuracy/teacher", candidate, score.error, limit, rule, f"teachers {_error(teacher):.6g}")


def against_champion(
    candidate: str, score: Score, champion: Champion, groups: NDArray[np.int64], gate: AccuracyGate, seed: int
) -> GateResult:
    """The upper bound of the relative difference to the champion, on the same rows, is within the margin.

    Without a champion (first night) it passes; a champion that cannot be measured refuses every candidate.
    """
    name, rule = (
        "accuracy/champion",
        f"upper bound of the relative difference to the champion at most {gate.champion_margin:g}",
    )
    if champion.absent:
        return GateResult(name, candidate, True, None, gate.champion_margin, rule, "no champion yet")
    if champion.score is None:
        return refused(name, candidate, rule, champion.note, gate.champion_margin)
    try:
        comparison = compare(
            score, champion.score, groups, confidence=gate.confidence, resamples=gate.resamples, seed=seed
        )
    except ValueError as error:
        return refused(name, candidate, rule, str(error), gate.champion_margin)
    return at_most(name, candidate, comparison.high, gate.champion_margin, rule, str(comparison))


def _error(score: Score | None) -> float:
    return float("nan") if score is None else score.error
