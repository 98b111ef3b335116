"""This module turns the results of the evaluation into plain values, for later stages and for people."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.gates.comparison import compare
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Opponents
from tasks.gates.options import Gates
from tasks.gates.result import rounded
from tasks.gates.segments import by_segment
from tasks.gates.verdict import Judgement, Verdict
from tasks.problems.base import Floats, Score

EXAMPLES = 6


@dataclass(frozen=True)
class MeasuredModel:
    """This is one line of the table of models. `role`: naive, teacher, student, twin, champion or candidate."""

    name: str
    role: str
    score: Score | None = None
    parameters: int | None = None
    bytes: int | None = None
    valid_error: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; None where nothing was measured."""
        return {
            "name": self.name,
            "role": self.role,
            "error": rounded(self.score.error) if self.score else None,
            "metrics": {name: rounded(value) for name, value in self.score.metrics.items()} if self.score else {},
            "parameters": self.parameters,
            "bytes": self.bytes,
            "valid_error": rounded(self.valid_error),
        }


def verdict_json(
    verdict: Verdict,
    opponents: Opponents,
    models: list[MeasuredModel],
    evaluation: EvaluationSet,
    gates: Gates,
    seed: int,
) -> dict[str, Any]:
    """Return the content of verdict.json: equal inputs give equal values, so there are no measured times in it."""
    winner = verdict.winner
    return {
        "verdict": "promote" if winner else "reject",
        "winner": winner.candidate.name if winner else None,
        "winner_sha256": hashlib.sha256(winner.candidate.model or b"").hexdigest() if winner else None,
        "reason": verdict.reason,
        "champion": opponents.champion.sequence,
        "primary_metric": evaluation.problem.primary_metric,
        "rows": len(evaluation.rows),
        "gates": [result.to_json() for judgement in verdict.ranked for result in judgement.results],
        "models": [model.to_json() for model in models],
        "comparison": comparison_json(verdict, opponents, evaluation, gates, seed),
    }


def comparison_json(
    verdict: Verdict, opponents: Opponents, evaluation: EvaluationSet, gates: Gates, seed: int
) -> dict[str, Any] | None:
    """Compare the foremost candidate with each opponent, relatively; return None if no candidate could be run."""
    leader = foremost(verdict)
    if leader is None or leader.score is None:
        return None
    rule, found = gates.accuracy, dict[str, Any]()
    for name, other in (
        ("naive", opponents.naive),
        ("teacher", opponents.teacher),
        ("champion", opponents.champion.score),
    ):
        found[name] = None
        if other is None:
            continue
        try:
            result = compare(
                leader.score,
                other,
                evaluation.clusters,
                confidence=rule.confidence,
                resamples=rule.resamples,
                seed=seed,
            )
        except ValueError:  # nothing to resample
            continue
        found[name] = {key: rounded(value) for key, value in asdict(result).items()} | {"error": rounded(other.error)}
    return {"candidate": leader.candidate.name, "error": rounded(leader.score.error), **found}


def segments_json(
    verdict: Verdict, opponents: Opponents, evaluation: EvaluationSet, gates: Gates
) -> list[dict[str, Any]]:
    """Return the content of segments.json: errors of the foremost candidate and the champion in each segment."""
    leader = foremost(verdict)
    if leader is None or leader.score is None:
        return []
    found = by_segment(leader.score, opponents.champion.score, evaluation.segments, gates.segments)
    return [segment.to_json(gates.segments.limit) for segment in found]


def examples_json(
    verdict: Verdict, others: Mapping[str, Floats | None], evaluation: EvaluationSet
) -> list[dict[str, Any]]:
    """Return examples.json: pictures of the foremost candidate (first curve) and `others` that could be measured."""
    leader = foremost(verdict)
    curves = {"candidate": leader.output} if leader and leader.output is not None else {}
    curves |= {name: output for name, output in others.items() if output is not None}
    pictures = evaluation.problem.examples(evaluation.dataset, evaluation.rows, curves, EXAMPLES)
    return [_finite(asdict(picture)) for picture in pictures]


def foremost(verdict: Verdict) -> Judgement | None:
    """Return the winner, or else the first in order of choice that could be run."""
    return verdict.winner or next((item for item in verdict.ranked if item.score is not None), None)


def _finite(value: Any) -> Any:
    """Return plain values with None for NaN and infinity, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
