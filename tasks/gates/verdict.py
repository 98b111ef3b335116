"""The verdict applies all gates to all candidates and chooses the winner. What cannot be measured is refused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.compression.timing import Latency, measure_against
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.further import further, parse_gates
from tasks.gates.gate import Candidate, Case, Opponents
from tasks.gates.mandatory import MANDATORY
from tasks.gates.options import Gates
from tasks.gates.result import GateResult, refused
from tasks.gates.robustness import one_line
from tasks.problems.base import Batches, Floats, Score


@dataclass(frozen=True)
class Judgement:
    """A Judgement holds all gates of one candidate. Without `score` it could not be run."""

    candidate: Candidate
    results: tuple[GateResult, ...]
    output: Floats | None = None
    score: Score | None = None
    latency: Latency | None = None

    @property
    def passed(self) -> bool:
        """Return whether it passes every gate, of which there is at least one."""
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """Return the gates that refuse it."""
        return tuple(result for result in self.results if not result.passed)


@dataclass(frozen=True)
class Verdict:
    """A Verdict holds `ranked`, all judgements in order of choice, and `winner`, the first that passed every gate."""

    ranked: tuple[Judgement, ...]
    winner: Judgement | None
    reason: str


def decide(
    candidates: Sequence[Candidate], evaluation: EvaluationSet, opponents: Opponents, gates: Gates, seed: int
) -> Verdict:
    """Judge every candidate and choose. Candidates are chosen by validation error and bytes alone, gated on test rows.

    Raises ConfigError on a segment column or corruption that the problem does not know; never because of a candidate.
    """
    disturbed = [evaluation.disturbed(item.kind, item.level, seed) for item in gates.robustness]
    judged = {
        candidate.name: judge(candidate, evaluation, opponents, gates, disturbed, seed) for candidate in candidates
    }
    ranked = tuple(judged[candidate.name] for candidate in in_order_of_choice(candidates, gates.selection_tolerance))
    winner = next((judgement for judgement in ranked if judgement.passed), None)
    return Verdict(ranked, winner, _reason(ranked, winner))


def in_order_of_choice(candidates: Sequence[Candidate], tolerance: float) -> list[Candidate]:
    """Sort: first candidates within `tolerance` of the best error, smallest file first; then the rest by error.

    One that was made again stands before the one that was chosen for it: it has no validation error of its own.
    """
    chosen = [candidate for candidate in candidates if candidate.of is None]
    known = [candidate.valid_error for candidate in chosen if math.isfinite(candidate.valid_error)]
    bound = min(known, default=math.nan) * (1 + tolerance)

    def key(candidate: Candidate) -> tuple[int, float, str]:
        if candidate.valid_error <= bound:
            return 0, len(candidate.model or b""), candidate.name
        return (
            (1, candidate.valid_error, candidate.name)
            if math.isfinite(candidate.valid_error)
            else (2, 0.0, candidate.name)
        )

    found = sorted(chosen, key=key)
    for again in (candidate for candidate in candidates if candidate.of is not None):
        names = [candidate.name for candidate in found]
        found.insert(names.index(again.of) if again.of in names else len(found), again)
    return found


def judge(
    candidate: Candidate,
    evaluation: EvaluationSet,
    opponents: Opponents,
    gates: Gates,
    disturbed: Sequence[Batches],
    seed: int,
) -> Judgement:
    """Judge one candidate by all gates. `disturbed`: the evaluation inputs under each of `gates.robustness`."""
    name, rule = candidate.name, "runs in ONNX Runtime and gives finite numbers of the contract's shape"
    model = candidate.model
    if model is None:
        why = candidate.about.get("reason")
        note = f"there is no model.onnx: {why}" if isinstance(why, str) and why else "there is no model.onnx"
        return Judgement(candidate, (refused("runs", name, rule, note),))
    if not math.isfinite(candidate.valid_error):
        return Judgement(candidate, (refused("runs", name, rule, "about.json states no valid_error"),))
    try:
        output = evaluation.run(model)
        score = evaluation.score(output)
    except Exception as error:  # noqa: BLE001 any fault of these bytes is a reason to refuse them, not to stop the run
        return Judgement(candidate, (refused("runs", name, rule, one_line(error)),))
    latency, why = _latency(model, evaluation, gates)
    case = Case(candidate, model, output, score, evaluation, opponents, gates, disturbed, seed, latency, why)
    results = (
        GateResult("runs", name, True, None, None, rule),
        *(result for gate in MANDATORY.values() for result in gate(case)),
        *(result for gate in parse_gates(gates.further) for result in further(gate, case)),
    )
    return Judgement(candidate, results, output, score, latency)


def _latency(model: bytes, evaluation: EvaluationSet, gates: Gates) -> tuple[Latency | None, str]:
    rule = gates.latency
    try:
        limits = rule.max_p50_ratio, rule.max_p95_ratio
        found = measure_against(
            model, evaluation.sample, limits, batch=rule.batch, threads=rule.threads, rounds=rule.rounds
        )
    except Exception as error:  # noqa: BLE001 see judge
        return None, one_line(error)
    return found, ""


def _reason(ranked: Sequence[Judgement], winner: Judgement | None) -> str:
    if winner:
        better = ranked[: ranked.index(winner)]
        passed_over = f" after {', '.join(item.candidate.name for item in better)} failed" if better else ""
        return f"{winner.candidate.name} passes all {len(winner.results)} gates{passed_over}"
    if not ranked:
        return "there is no candidate"
    first = ranked[0]
    gates = ", ".join(result.gate for result in first.failed)
    others = f" (nor does any of {len(ranked) - 1} others)" if len(ranked) > 1 else ""
    why = first.failed[0].note
    return f"{first.candidate.name} does not pass {gates}{others}" + (f": {why}" if why else "")
