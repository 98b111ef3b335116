"""Parity of lists: a file whose scores are nearly those of the torch model can still name other items."""

from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.compression.chain import parse_chain
from tasks.compression.options import Recipe
from tasks.compression.parity import overlap, parity
from tasks.compression.recipe import Compressed, compress
from tasks.compression.runtime import OnnxModel
from tasks.compression.traits import traits_of
from tasks.core.config import Spec
from tasks.gates.champion import Champion
from tasks.gates.gate import Candidate, Case, Opponents
from tasks.gates.mandatory import MANDATORY
from tasks.gates.options import ParityGate
from tasks.gates.result import GateResult
from tasks.problems.base import Floats, Score
from tasks.problems.blocks.outputs import outputs
from tasks.problems.models import build_model
from tests.unit.problems.ranking.films import dataset, problem
from tests.unit.problems.ranking.test_known_bad import evaluation, rules

GATE = ParityGate(tolerance=0.05, overlap=0.9)
KIND, MADE = problem(split="leave-one-out"), dataset(split="leave-one-out")
ROWS = MADE.splits["valid"]


def student(seed: int = 0) -> nn.Module:
    """A student whose scores all are near to 5, which says nothing of its lists."""
    torch.manual_seed(seed)
    model = build_model(Spec(kind="decayed-sum", width=8), MADE.contract)
    with torch.no_grad():
        model.get_parameter("bias").add_(5.0)
    return model.eval()


def named(output: Floats) -> Any:
    return KIND.named(MADE, ROWS, output)


@cache
def compressed() -> Compressed:
    model = student()
    chain = parse_chain("one", Recipe(steps=(Spec(kind="int8-weights"),)), {"student": traits_of(model)})
    return compress(
        model,
        chain,
        MADE.contract,
        valid=MADE.batches(ROWS),
        error=lambda output: KIND.score(output, MADE.target(ROWS)).error,
        calibration=lambda count: MADE.inputs(MADE.splits["train"][:count]),
        tune=lambda *_, **__: 0,
        rounds=0,
        names=named,
    )


def of_another() -> dict[str, float | None]:
    """What would have been measured, had the file been made of another student."""
    scores = outputs(student(seed=1), MADE.batches(ROWS))
    return parity(OnnxModel(compressed().model).run(MADE.batches(ROWS)), scores, named).to_json()


def judged(rule: ParityGate = GATE, **changes: Any) -> dict[str, GateResult]:
    """What the mandatory gate says of the file, with other things told of it."""
    found = compressed()
    gates = rules(parity=rule.model_dump())
    candidate = Candidate("one", found.model, {**found.about(), **changes})
    empty = np.zeros(0, np.float32)
    score = Score(np.zeros(1), np.ones(1), {})
    opponents = Opponents(None, None, Champion(0))
    case = Case(candidate, found.model, empty, score, evaluation(), opponents, gates)
    return {result.gate: result for result in MANDATORY["parity"](case)}


def test_a_file_of_the_same_lists_passes() -> None:
    found = judged()
    assert found.keys() == {"parity", "parity/overlap"} and all(result.passed for result in found.values())


def test_lists_that_differ_are_refused_though_the_scores_are_close() -> None:
    found = judged(parity=of_another())
    assert found["parity"].passed
    assert not found["parity/overlap"].passed and (found["parity/overlap"].observed or 1) < 0.9


@pytest.mark.parametrize("measured", [None, {}, {"relative": 0.0}, {"relative": 0.0, "overlap": float("nan")}])
def test_lists_that_were_not_measured_are_refused(measured: object) -> None:
    found = judged(parity=measured)["parity/overlap"]
    assert not found.passed and "no overlap was measured" in found.note


def test_lists_of_other_bytes_are_refused() -> None:
    found = judged(sha256=sha256(b"others").hexdigest())
    assert not all(result.passed for result in found.values())


def test_params_of_before_ask_for_no_lists() -> None:
    found = judged(ParityGate.model_validate({"tolerance": 0.05}), parity=of_another())
    assert found.keys() == {"parity"} and found["parity"].passed


def test_an_overlap_counts_items_in_any_order_of_the_longer_list() -> None:
    named = np.array([[1, 2, 3], [1, 2, -1], [-1, -1, -1], [4, -1, -1]])
    meant = np.array([[3, 2, 1], [2, -1, -1], [-1, -1, -1], [-1, -1, -1]])
    assert overlap(named, meant) == pytest.approx((1 + 1 / 2 + 1 + 0) / 4)
    scores = np.ones((1, 3), np.float32)
    assert "overlap" not in parity(scores, scores).to_json()
    assert parity(scores, scores, lambda _: meant[:1]).to_json()["overlap"] == 1
