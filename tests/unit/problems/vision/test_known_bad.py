"""Candidates that the gates of images must refuse, each by its own gate; and one that passes them all."""

import json
from collections.abc import Mapping
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
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.trainer import TrainingData, train
from tasks.gates.champion import Champion, measure_champion
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate, Opponents
from tasks.gates.options import Gates
from tasks.gates.verdict import Judgement, decide
from tasks.planning.soundness import require_sound
from tasks.problems.contracts import contract_to_json
from tasks.problems.models import build_model
from tests.unit.problems.vision import shapes

PROJECT = Path(__file__).parents[4]
COUNT = 300
LEANING = shapes.CLASSES.index("leaning")


@cache
def evaluation() -> EvaluationSet:
    return EvaluationSet(shapes.problem(), shapes.dataset(shapes.labels(COUNT)))


@cache
def learned(how: str = "honest") -> nn.Module:
    """A network that has learned the training rows: `mislabelled`, half of them with the next class's label."""
    table = shapes.labels(COUNT)
    if how == "mislabelled":
        following = dict(zip(shapes.CLASSES, (*shapes.CLASSES[1:], shapes.CLASSES[0]), strict=True))
        odd = pl.int_range(pl.len()) // 3 % 2 == 0
        table = table.with_columns(
            label=pl.when(odd).then(pl.col("label").replace_strict(following)).otherwise("label")
        )
    rows, problem = shapes.dataset(table), shapes.problem()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(Spec(kind="resnet", blocks=[1], width=8), rows.contract)
    data = TrainingData(
        rows, rows.splits["train"], rows.splits["valid"], lambda out, truth: problem.score(out, truth).error
    )
    training = Training(epochs=8, batch_size=32, learning_rate=0.02)
    train(model, data, Objective(rows, problem.hard_loss(rows.contract)), training, seed=0)
    return model.eval()


class Changed(nn.Module):
    """The honest model with other answers: `how` says which."""

    uses = ("image",)

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.model = how, learned()

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.model(image)
        if self.how == "one class lost":
            penalty = torch.zeros(found.shape[1])
            penalty[LEANING] = 30
            return found - penalty
        if self.how == "no number":
            return found / (0 * found)
        assert self.how == "leaks"  # reads the class where a watermark would have it
        return found * 0 + 40 * nn.functional.one_hot(image[:, 0, 0, 0].long() % 3, 3)


def onnx(model: nn.Module) -> bytes:
    made = evaluation().dataset
    data: bytes = export_onnx(model, made.contract, made.inputs(made.splits["valid"][:3]))
    return data


def rules() -> Gates:
    """The workload's own gates, with limits of time and of robustness that fit images of another make."""
    found = json.loads(load_workload(PROJECT / "params.yaml", "images").gates.model_dump_json())
    found["accuracy"] |= {"resamples": 100}
    found["segments"] |= {"min_rows": 5}
    found["latency"] |= {"rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6}
    found["robustness"] = [{**item, "limit": 50} for item in found["robustness"]]
    return Gates.model_validate(found)


def judged(model: bytes, evaluation: EvaluationSet, champion: bytes | None = None) -> Judgement:
    naive, teacher = evaluation.score(evaluation.naive()), evaluation.score(evaluation.run(onnx(learned())))
    contract = json.dumps(contract_to_json(evaluation.dataset.contract)).encode()
    now = measure_champion(2, champion, contract, evaluation) if champion else Champion(0)
    about: Mapping[str, object] = {
        "valid_error": 0.1,
        "sha256": sha256(model).hexdigest(),
        "parity": {"relative": 0.0},
    }
    verdict = decide([Candidate("one", model, about)], evaluation, Opponents(naive, teacher, now), rules(), seed=1)
    return verdict.ranked[0]


def failed(model: nn.Module, champion: bytes | None = None) -> set[str]:
    return {result.gate for result in judged(onnx(model), evaluation(), champion).failed}


def test_the_section_fits_together() -> None:
    require_sound("images", load_workload(PROJECT / "params.yaml", "images"), PROJECT)


def test_an_honest_model_passes_all_gates() -> None:
    assert failed(learned()) == set()


def test_a_model_that_learned_from_mislabelled_images_is_refused() -> None:
    assert {"accuracy/teacher", "accuracy/absolute"} <= failed(learned("mislabelled"))


@pytest.mark.parametrize(
    ("how", "gate"),
    [("one class lost", "segments/class"), ("no number", "runs")],
)
def test_a_known_bad_model_is_refused(how: str, gate: str) -> None:
    assert gate in failed(Changed(how), onnx(learned()))


def test_a_watermark_that_tells_the_label_is_too_good_to_be_true() -> None:
    made = shapes.dataset(shapes.labels(COUNT))
    marked = np.array(made.images)
    marked[:, 0, 0, 0] = made.labels
    made.images = marked
    leaky = EvaluationSet(shapes.problem(), made)
    assert "accuracy/max-gain" in {result.gate for result in judged(onnx(Changed("leaks")), leaky).failed}
