"""Candidates that the gates of a ranking must refuse, each by its own gate; and one that passes them all."""

import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tasks.compression.export import export_onnx
from tasks.compression.runtime import OnnxModel
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.gates.champion import Champion, measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.options import Gates
from tasks.gates.verdict import Judgement, decide
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model
from tasks.problems.ranking.models.product import Ease
from tests.unit.problems.ranking.films import dataset, events, problem

PROJECT = Path(__file__).parents[4]
SPLIT = "leave-one-out"


@cache
def evaluation() -> EvaluationSet:
    return EvaluationSet(problem(split=SPLIT), dataset(split=SPLIT))


@cache
def good(half_life: float = 4.0) -> Ease:
    made = evaluation().dataset
    model = build_model(Spec(kind="ease", regularisation=5.0, half_life=half_life, nearness=2.0), made.contract)
    assert isinstance(model, Ease)
    model.fit(made, made.splits["train"], made.splits["valid"], seed=0)
    return model.eval()


class Changed(nn.Module):
    """The good model with other answers: `how` says which."""

    uses = ("history",)

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.good = how, good()

    def forward(self, history: Tensor) -> Tensor:
        scores: Tensor = self.good(history)
        places = torch.arange(scores.shape[1])
        if self.how == "the same to all":
            return 0 * scores - places
        if self.how == "no number":
            return scores / (0 * scores)
        assert self.how == "by heart"  # knows where in its history each item stands, and nothing else
        return 0 * scores + ((history[:, -1:] * 7 + places * 3) % 40)


def onnx(model: nn.Module) -> bytes:
    made = evaluation().dataset
    data: bytes = export_onnx(model, made.contract, made.inputs(made.splits["valid"][:3]))
    return data


def rules(**changes: object) -> Gates:
    """The workload's own gates, with limits that fit 60 users."""
    section = load_workload(PROJECT / "params.yaml", "recommendation").gates
    found = json.loads(section.model_dump_json())
    found["accuracy"] |= {"limit": 1, "max_gain": 1, "retention": 1.2, "resamples": 100}
    found["segments"] |= {"min_rows": 5}
    found["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    found["robustness"] = [{**item, "limit": 1.5} for item in found["robustness"]]
    found["floors"] = []  # these films have no attributes
    return Gates.model_validate({**found, **changes})


def judged(model: bytes, champion: Champion, gates: Gates) -> Judgement:
    made = evaluation()
    about: Mapping[str, object] = {"valid_error": 0.5, "parity": {"relative": 0.0, "overlap": 1.0}, "sha256": ""}
    candidate = Candidate("one", model, {**about, "sha256": sha256(model).hexdigest()})
    teacher = made.score(OnnxModel(onnx(good())).run(made.dataset.batches(made.rows)))
    opponents = Opponents(made.score(made.naive()), teacher, champion)
    return decide([candidate], made, opponents, gates, seed=3).ranked[0]


def test_a_good_candidate_passes() -> None:
    found = judged(onnx(good()), Champion(0), rules())
    assert found.passed, [(result.gate, result.note) for result in found.failed]


@pytest.mark.parametrize(
    ("how", "gate"),
    [("the same to all", "diversity"), ("the same to all", "accuracy/naive"), ("no number", "runs"),
     ("by heart", "accuracy/teacher")],
)  # fmt: skip
def test_a_known_bad_candidate_is_refused(how: str, gate: str) -> None:
    found = judged(onnx(Changed(how)), Champion(0), rules(diversity={"least": 0.6}))
    assert gate in {result.gate for result in found.failed}


def test_a_candidate_that_hangs_on_the_order_or_on_old_items_is_refused() -> None:
    disturbed = [{"kind": "shuffle", "level": 1.0, "limit": 1.1}, {"kind": "shorten", "level": 0.9, "limit": 1.001}]
    last = judged(onnx(good(0.2)), Champion(0), rules(robustness=disturbed))
    assert "robustness/shuffle" in {result.gate for result in last.failed}
    old = judged(onnx(good(50.0)), Champion(0), rules(robustness=disturbed))
    assert "robustness/shorten" in {result.gate for result in old.failed}


def test_a_candidate_that_names_fewer_items_than_the_champion_is_refused() -> None:
    contract = json.dumps(contract_to_json(evaluation().dataset.contract)).encode()
    champion = measure_champion(2, onnx(good()), contract, evaluation())
    assert champion.score is not None
    found = judged(onnx(Changed("the same to all")), champion, rules())
    assert "diversity" in {result.gate for result in found.failed}


def test_a_champion_of_a_smaller_catalogue_is_compared_on_the_same_rows() -> None:
    before = dataset(events().filter(~events()["item"].is_in(["f03"])), split=SPLIT)
    model = build_model(Spec(kind="ease", regularisation=5.0), before.contract)
    assert isinstance(model, Ease)
    model.fit(before, before.splits["train"], before.splits["valid"], seed=0)
    data = export_onnx(model.eval(), before.contract, before.inputs(before.splits["valid"][:3]))
    contract = json.dumps(contract_to_json(before.contract)).encode()
    champion = measure_champion(2, data, contract, evaluation())
    assert champion.score is not None and champion.output is not None, champion.note
    assert champion.output.shape == (60, 40) and 0 < champion.score.error < 1
