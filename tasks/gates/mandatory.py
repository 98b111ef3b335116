"""Every candidate is judged by these gates; their limits stand in a workload's `gates`."""

from collections.abc import Callable, Mapping, Sequence

from tasks.gates.accuracy import absolute, against_champion, against_naive, against_teacher, not_too_good
from tasks.gates.calibration import calibration
from tasks.gates.diversity import diversity, floor
from tasks.gates.drift import drift_gate
from tasks.gates.gate import Case
from tasks.gates.latency import latency_gates
from tasks.gates.parity import lists, parity
from tasks.gates.result import GateResult
from tasks.gates.robustness import robustness
from tasks.gates.segments import segment_gates
from tasks.gates.size import size


def _accuracy(case: Case) -> Sequence[GateResult]:
    name, score, opponents, rule = case.candidate.name, case.score, case.opponents, case.gates.accuracy
    return (
        absolute(name, score, rule),
        against_naive(name, score, opponents.naive, rule),
        against_teacher(name, score, opponents.teacher, rule),
        not_too_good(name, score, opponents.naive, opponents.champion, rule),
        against_champion(name, score, opponents.champion, case.evaluation.clusters, rule, case.seed),
    )


def _segments(case: Case) -> Sequence[GateResult]:
    champion, segments = case.opponents.champion, case.evaluation.segments
    return segment_gates(case.candidate.name, case.score, champion, segments, case.gates.segments)


def _size(case: Case) -> Sequence[GateResult]:
    return (size(case.candidate.name, case.model, case.gates.size),)


def _latency(case: Case) -> Sequence[GateResult]:
    return latency_gates(case.candidate.name, case.latency, case.gates.latency, case.latency_note)


def _parity(case: Case) -> Sequence[GateResult]:
    name, about, rule = case.candidate.name, case.candidate.about, case.gates.parity
    found = parity(name, case.model, about, rule)
    return (found,) if rule.overlap is None else (found, lists(name, case.model, about, rule.overlap))


def _robustness(case: Case) -> Sequence[GateResult]:
    evaluation = case.evaluation
    return [
        robustness(
            case.candidate.name,
            case.score,
            item,
            batches,
            lambda given: evaluation.score(evaluation.run(case.model, given)),
        )
        for item, batches in zip(case.gates.robustness, case.disturbed, strict=True)
    ]


def _drift(case: Case) -> Sequence[GateResult]:
    return drift_gate(case.candidate.name, case.opponents.drift, case.gates.drift)


def _diversity(case: Case) -> Sequence[GateResult]:
    rule = case.gates.diversity
    return [diversity(case.candidate.name, case.score, case.opponents.champion, rule)] if rule else []


def _calibration(case: Case) -> Sequence[GateResult]:
    rule = case.gates.calibration
    return calibration(case.candidate.name, case.score, rule) if rule else []


def _floors(case: Case) -> Sequence[GateResult]:
    name, score, champion = case.candidate.name, case.score, case.opponents.champion
    return [floor(name, score, champion, rule) for rule in case.gates.floors]


MANDATORY: Mapping[str, Callable[[Case], Sequence[GateResult]]] = {
    "accuracy": _accuracy,
    "segments": _segments,
    "size": _size,
    "latency": _latency,
    "parity": _parity,
    "robustness": _robustness,
    "drift": _drift,
    "diversity": _diversity,
    "calibration": _calibration,
    "floors": _floors,
}
