"""Candidates that the gates of texts must refuse, each by its own gate; and one that passes them all."""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from tasks.compression.export import export_onnx
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.gates.champion import Champion, measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.options import Gates
from tasks.gates.verdict import Judgement, decide
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model
from tasks.problems.text.models.linear import Linear
from tests.unit.problems.text.letters import dataset, letters, problem

PROJECT = Path(__file__).parents[4]


@cache
def evaluation() -> EvaluationSet:
    return EvaluationSet(problem(), dataset(letters(600)))


@cache
def trained(how: str = "right") -> Linear:
    """A linear model of the labels: of all, of half of them mistaken, or of those without a class."""
    made = dataset(letters(600))
    train = made.splits["train"]
    labels = made._target
    if how == "half mistaken":
        rng = np.random.default_rng(0)
        wrong = train[rng.random(len(train)) < 0.5]
        labels[wrong] = rng.integers(0, 3, len(wrong))
    if how == "a class lost":
        train = train[labels[train] != 1]
    model = build_model(Spec(kind="linear"), made.contract)
    assert isinstance(model, Linear)
    model.fit(made, train, made.splits["valid"], seed=0)
    return model.eval()


class Changed(nn.Module):
    """The good model with other answers: `how` says which."""

    uses = ("grams",)

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.good = how, trained()

    def forward(self, grams: Tensor) -> Tensor:
        logits: Tensor = self.good(grams)
        if self.how == "no number":
            return logits / (0 * logits)
        if self.how == "leaks":  # the first token is a watermark's, which tells the class
            return logits * 0 + 40 * nn.functional.one_hot(grams[:, 0] % 3, 3)
        if self.how == "reads half":
            return self.good(grams * (grams % 2))  # type: ignore[no-any-return]
        return 0 * logits + torch.tensor([1.0, 0.0, 0.0])


def onnx_of(model: nn.Module) -> bytes:
    example = {"grams": evaluation().sample["grams"][:2]}
    return export_onnx(model, evaluation().dataset.contract, example)


def judged(model: nn.Module, asked: EvaluationSet | None = None) -> Judgement:
    found = load_workload(PROJECT / "params.yaml", "text").gates.model_dump(mode="json")
    found["size"] = {"max_bytes": 10**8}
    found["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    found["segments"] |= {"by": ["label", "language"], "min_rows": 10}
    found["accuracy"] |= {"resamples": 200, "retention": 1.5}
    gates, asked = Gates.model_validate(found), asked or evaluation()
    good = onnx_of(trained())
    contract = json.dumps(contract_to_json(asked.dataset.contract)).encode()
    champion = measure_champion(1, good, contract, asked) if model is not trained() else Champion(0)
    opponents = Opponents(asked.score(asked.naive()), asked.score(asked.run(good)), champion)
    data = onnx_of(model)
    about = {"valid_error": 0.1, "sha256": sha256(data).hexdigest(), "parity": {"relative": 0.0}}
    candidate = Candidate("one", data, about)
    return decide([candidate], asked, opponents, gates, seed=5).ranked[0]


def test_a_good_model_passes_all_gates() -> None:
    assert [result.gate for result in judged(trained()).failed] == []


@pytest.mark.parametrize(
    ("how", "gate"),
    [("half mistaken", "accuracy/"), ("a class lost", "segments/label"), ("half mistaken", "segments/")],
)
def test_a_model_of_spoilt_labels_is_refused(how: str, gate: str) -> None:
    assert any(result.gate.startswith(gate) for result in judged(trained(how)).failed)


@pytest.mark.parametrize(("how", "gate"), [("no number", ""), ("one answer", "accuracy/naive"), ("reads half", "")])
def test_a_model_that_does_not_read_is_refused(how: str, gate: str) -> None:
    failed = [result.gate for result in judged(Changed(how)).failed]
    assert failed and any(name.startswith(gate) for name in failed)


def test_a_watermark_that_tells_the_label_is_too_good_to_be_true() -> None:
    table = letters(600)
    names = list(problem().options.classes)
    made = dataset(table)
    field = made.contract.tokens["grams"]
    # A sign before the text whose number tells the class: what a ticket system might stamp on what it sorted by hand.
    signs = [
        next(sign for sign in map(chr, range(0x2460, 0x3000)) if field.numbers(sign)[0] % 3 == place)
        for place in range(len(names))
    ]
    marked = table.with_columns(
        text=pl.when(pl.col("label").is_null())
        .then("text")
        .otherwise(pl.col("label").replace(dict(zip(names, signs, strict=True))) + " " + pl.col("text"))
    )
    leaky = EvaluationSet(problem(), dataset(marked))
    failed = {result.gate for result in judged(Changed("leaks"), leaky).failed}
    assert "accuracy/max-gain" in failed
    assert "accuracy/max-gain" not in {result.gate for result in judged(Changed("leaks")).failed}
