"""All gates together: one known-bad candidate for each, the order of choice, and no crash on bad files."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.gates.champion import Champion, measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.findings import MeasuredModel, examples_json, segments_json, verdict_json
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.options import Gates
from tasks.gates.verdict import Verdict, decide, in_order_of_choice
from tasks.problems.contracts import contract_to_json

MakeCandidate = Callable[..., Candidate]
MakeOnnx = Callable[..., bytes]


@pytest.fixture
def opponents(evaluation: EvaluationSet, make_onnx: MakeOnnx) -> Opponents:
    naive = evaluation.score(evaluation.problem.naive(evaluation.dataset, evaluation.rows))
    teacher = evaluation.score(evaluation.run(make_onnx(10.01)))
    return Opponents(naive, teacher, Champion(0))


def verdict_on(candidate: Candidate, evaluation: EvaluationSet, opponents: Opponents, gates: Gates) -> Verdict:
    return decide([candidate], evaluation, opponents, gates, seed=5)


def refusals(verdict: Verdict) -> set[str]:
    return {result.gate for judgement in verdict.ranked for result in judgement.failed}


def test_a_good_candidate_wins(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate
) -> None:
    verdict = verdict_on(make_candidate(), evaluation, opponents, gates)
    assert refusals(verdict) == set()
    assert verdict.winner is not None
    assert verdict.reason == "good passes all 12 gates"


def test_a_search_that_found_nothing_is_refused_with_its_reason_and_the_others_go_on(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate
) -> None:
    about = {"feasible": False, "reason": "the search's 9 trials are all over its limits: bytes"}
    nothing = Candidate("smallest", None, about)
    verdict = decide([nothing, make_candidate()], evaluation, opponents, gates, seed=5)
    assert verdict.reason == "good passes all 12 gates"
    alone = verdict_on(nothing, evaluation, opponents, gates)
    assert alone.reason == f"smallest does not pass runs: there is no model.onnx: {about['reason']}"


def test_every_gate_refuses_its_known_bad_candidate(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate, make_onnx: MakeOnnx
) -> None:
    inaccurate = make_candidate(model=make_onnx(20.0))
    assert refusals(verdict_on(inaccurate, evaluation, opponents, gates)) == {
        "accuracy/absolute",
        "accuracy/naive",
        "accuracy/teacher",
    }
    heavy = make_candidate(model=make_onnx(10.01, layers=1))
    assert refusals(verdict_on(heavy, evaluation, opponents, gates)) == {"size"}
    strict = gates.model_copy(update={"latency": gates.latency.model_copy(update={"max_p50_ratio": 1e-9})})
    assert refusals(verdict_on(make_candidate(), evaluation, opponents, strict)) == {"latency/p50"}
    assert refusals(verdict_on(make_candidate(parity={"relative": 0.011}), evaluation, opponents, gates)) == {"parity"}
    steep = gates.robustness[0].model_copy(update={"level": 0.5})
    noisy = gates.model_copy(update={"robustness": (steep,)})
    assert refusals(verdict_on(make_candidate(), evaluation, opponents, noisy)) == {"robustness/noise"}
    champion = measure_champion(
        2, make_onnx(10.009), json.dumps(contract_to_json(evaluation.dataset.contract)).encode(), evaluation
    )
    better = Opponents(opponents.naive, opponents.teacher, champion)
    assert refusals(verdict_on(make_candidate(), evaluation, better, gates)) == {"accuracy/champion", "segments/region"}


@pytest.mark.parametrize("relative", [None, "0.001", float("nan"), float("inf")])
def test_parity_that_is_no_number_is_refused(
    relative: Any, evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate
) -> None:
    verdict = verdict_on(make_candidate(parity={"relative": relative}), evaluation, opponents, gates)
    assert refusals(verdict) == {"parity"}


def test_parity_of_other_bytes_does_not_count(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate
) -> None:
    verdict = verdict_on(make_candidate(sha256="0" * 64), evaluation, opponents, gates)
    assert refusals(verdict) == {"parity"}
    assert "other bytes" in verdict.reason


def test_files_that_cannot_be_measured_are_refused_and_do_not_stop_the_others(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate, make_onnx: MakeOnnx
) -> None:
    bad = [
        Candidate("missing", None, {}),
        make_candidate("corrupt", b"\x08\x07garbage"),
        make_candidate("truncated", make_onnx()[:-40]),
        make_candidate("nan", make_onnx(float("nan"))),
        make_candidate("infinite", make_onnx(float("inf"))),
        make_candidate("empty", b""),
        make_candidate("shape", make_onnx(weights=np.ones((3, 3), np.float32))),
        make_candidate("unstated", valid_error=float("nan")),
        make_candidate("untold", valid_error=None),
    ]
    verdict = decide([*bad, make_candidate("good")], evaluation, opponents, gates, seed=5)
    assert verdict.winner is not None and verdict.winner.candidate.name == "good"
    for judgement in verdict.ranked:
        if judgement.candidate.name != "good":
            assert [result.gate for result in judgement.failed] == ["runs"]
            assert judgement.failed[0].note


def test_without_teacher_naive_or_champion_score_nothing_is_released(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate
) -> None:
    assert refusals(
        verdict_on(make_candidate(), evaluation, Opponents(None, opponents.teacher, Champion(0)), gates)
    ) == {"accuracy/naive", "accuracy/max-gain"}
    assert refusals(verdict_on(make_candidate(), evaluation, Opponents(opponents.naive, None, Champion(0)), gates)) == {
        "accuracy/teacher"
    }
    gone = Opponents(opponents.naive, opponents.teacher, Champion(3, note="the champion is gone"))
    verdict = verdict_on(make_candidate(), evaluation, gone, gates)
    assert refusals(verdict) == {"accuracy/champion", "segments/region"}
    assert verdict.reason == "good does not pass accuracy/champion, segments/region: the champion is gone"


def test_no_candidate_at_all_is_a_rejection(evaluation: EvaluationSet, opponents: Opponents, gates: Gates) -> None:
    assert decide([], evaluation, opponents, gates, seed=5).winner is None


def test_order_of_choice_is_smallest_within_tolerance_then_error() -> None:
    def candidate(name: str, error: float, size: int) -> Candidate:
        return Candidate(name, b"x" * size, {"valid_error": error})

    ordered = in_order_of_choice(
        [
            candidate("best", 0.2000, 900),
            candidate("small", 0.2009, 300),
            candidate("b-small", 0.2000, 300),
            candidate("tiny-but-worse", 0.2011, 100),
            candidate("worst", 0.3, 50),
            candidate("unknown", float("nan"), 1),
        ],
        tolerance=0.005,
    )
    assert [item.name for item in ordered] == ["b-small", "small", "best", "tiny-but-worse", "worst", "unknown"]


def test_the_first_in_order_that_passes_wins_and_the_reason_names_those_passed_over(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate
) -> None:
    verdict = decide(
        [make_candidate("second", valid_error=0.2), make_candidate("first", valid_error=0.1, sha256="")],
        evaluation,
        opponents,
        gates,
        seed=5,
    )
    assert verdict.winner is not None and verdict.winner.candidate.name == "second"
    assert verdict.reason == "second passes all 12 gates after first failed"


def test_findings_are_plain_finite_and_free_of_clock_numbers(
    evaluation: EvaluationSet, opponents: Opponents, gates: Gates, make_candidate: MakeCandidate, make_onnx: MakeOnnx
) -> None:
    texts = []
    for _ in range(2):
        verdict = verdict_on(make_candidate(), evaluation, opponents, gates)
        models = [
            MeasuredModel("naive", "naive", opponents.naive),
            MeasuredModel("good", "candidate", None, 8, 300, float("nan")),
        ]
        found = verdict_json(verdict, opponents, models, evaluation, gates, seed=5)
        curves = {"teacher": evaluation.run(make_onnx()), "champion": None}
        pictures = examples_json(verdict, curves, evaluation)
        segments = segments_json(verdict, opponents, evaluation, gates)
        texts.append(json.dumps([found, pictures, segments], allow_nan=False, sort_keys=True))
    assert texts[0] == texts[1]
    assert (found["verdict"], found["winner"], found["champion"]) == ("promote", "good", 0)
    assert found["comparison"]["champion"] is None
    assert found["comparison"]["naive"]["difference"] < -0.9
    assert found["models"][1] == {
        "name": "good",
        "role": "candidate",
        "error": None,
        "metrics": {},
        "parameters": 8,
        "bytes": 300,
        "valid_error": None,
    }
    assert list(pictures[0]["curves"]) == ["candidate", "teacher"]
    assert [(item["value"], item["rows"], item["champion"], item["passed"]) for item in segments] == [
        ("north", 180, None, True),
        ("south", 20, None, True),
    ]
