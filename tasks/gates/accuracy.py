"""This gate limits the error: absolute, against the naive baseline and the teacher, paired against the champion."""

from dataclasses import replace

from tasks.gates.champion import Champion
from tasks.gates.comparison import compare
from tasks.gates.options import AccuracyGate
from tasks.gates.result import GateResult, at_most, refused
from tasks.problems.base import Clusters, Score


def absolute(candidate: str, score: Score, gate: AccuracyGate) -> GateResult:
    """The error itself must be within the limit."""
    return at_most("accuracy/absolute", candidate, score.error, gate.limit, f"error at most {gate.limit:g}")


def against_naive(candidate: str, score: Score, naive: Score | None, gate: AccuracyGate) -> GateResult:
    """The candidate must be better than the naive baseline by a margin."""
    limit = (1 - gate.naive_margin) * _error(naive)
    rule = f"error at least {gate.naive_margin:.4g} below the naive baseline's, relatively"
    return at_most("accuracy/naive", candidate, score.error, limit, rule, f"naive {_error(naive):.6g}")


def against_teacher(candidate: str, score: Score, teacher: Score | None, gate: AccuracyGate) -> GateResult:
    """The candidate must be nearly as good as the teachers' ensemble."""
    limit = gate.retention * _error(teacher)
    rule = f"error at most {gate.retention:g} times the teachers'"
    return at_most("accuracy/teacher", candidate, score.error, limit, rule, f"teachers {_error(teacher):.6g}")


def against_champion(
    candidate: str, score: Score, champion: Champion, clusters: Clusters, gate: AccuracyGate, seed: int
) -> GateResult:
    """The upper bound of the relative difference to the champion, on the same rows, must be within the margin.

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
            score, champion.score, clusters, confidence=gate.confidence, resamples=gate.resamples, seed=seed
        )
    except ValueError as error:
        return refused(name, candidate, rule, str(error), gate.champion_margin)
    return at_most(name, candidate, comparison.high, gate.champion_margin, rule, str(comparison))


def not_too_good(
    candidate: str, score: Score, naive: Score | None, champion: Champion, gate: AccuracyGate
) -> GateResult:
    """The candidate must not save more of the error of the better of naive baseline and champion than is believable.

    The naive baseline sees no features and the champion was made under its own contract, so neither shares a leak of
    tonight's features. The teachers do, and do not count.
    """
    name = "accuracy/max-gain"
    rule = f"error at most {gate.max_gain:.4g} below the better of naive baseline and champion's, relatively"
    errors = {"naive": _error(naive)} | ({"champion": _error(champion.score)} if champion.score else {})
    opponent, error = min(errors.items(), key=lambda item: item[1])
    gain = 1 - score.error / error if error > 0 else float("nan")
    result = at_most(name, candidate, gain, gate.max_gain, rule, f"{opponent} {error:.6g}")
    if result.passed or not gain > gate.max_gain:
        return result
    why = "too good to be true: look for a feature that tells the target, or raise gates.accuracy.max_gain"
    return replace(result, note=f"{result.note}; {why}")


def _error(score: Score | None) -> float:
    return float("nan") if score is None else score.error
