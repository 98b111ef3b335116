"""Every pair of teacher and student that is meant to work: trained by the real trainer, exported, and better by it."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.distillation.options import Student, Teacher, Training
from tasks.distillation.student import fine_tuning_objective, training_data
from tasks.distillation.teacher import teach
from tasks.distillation.trainer import predict, set_up, train
from tasks.problems import get_problem
from tasks.problems.base import Floats
from tasks.problems.blocks.weights import count_parameters
from tasks.problems.models import build_model
from tests.unit.problems.forecasting.models.week import CONTEXT, HORIZON, WEEK
from tests.unit.problems.forecasting.models.windows import SMALL

TRAINING = Training(epochs=10, batch_size=32, learning_rate=0.03, patience=5)
SHORT = Training(epochs=2, batch_size=32, learning_rate=0.02)
PROBLEM = get_problem(Spec(kind="forecasting", horizon=HORIZON, context=CONTEXT))
TEACHERS: dict[str, dict[str, object]] = {
    **{kind: SMALL[kind] for kind in ("gru", "bilstm", "tcn", "cnn", "transformer")},
    "lstm": {**SMALL["lstm"], "hidden": 32},
    "mlp": {**SMALL["mlp"], "hidden": 48, "blocks": 2},
}
PAIRS = [
    (("lstm",), "rnn"),
    (("gru",), "linear"),
    (("cnn",), "multi-rnn"),
    (("transformer",), "attention"),
    (("bilstm",), "linear"),
    (("mlp",), "mlp"),
    (("lstm", "tcn"), "patch"),
    (("lstm", "tcn"), "linear"),
    (("lstm", "tcn"), "linear-mlp"),
]


@pytest.fixture(autouse=True)
def _one_thread_and_reproducible() -> Iterator[None]:
    threads = torch.get_num_threads()
    set_up(seed=0, threads=1)
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)


@cache
def soft_targets(kind: str) -> Floats:
    """(rows, horizon, quantiles) out-of-fold outputs of a small teacher."""
    return teach(WEEK, PROBLEM, Teacher(model=Spec(kind=kind, **TEACHERS[kind]), training=SHORT), folds=2, seed=0).soft


@pytest.mark.parametrize(("teachers", "kind"), PAIRS)
def test_a_student_learns_from_its_teachers_and_runs_as_onnx(teachers: tuple[str, ...], kind: str) -> None:
    student = Student(model=Spec(kind=kind, **SMALL[kind]), training=TRAINING, alpha=0.5)
    soft = PROBLEM.ensemble([soft_targets(teacher) for teacher in teachers])
    objective = fine_tuning_objective(WEEK, PROBLEM, student, soft)
    assert objective.teaching is not None
    torch.manual_seed(1)
    model = build_model(student.model, WEEK.contract)
    valid = WEEK.splits["valid"]
    untrained = PROBLEM.score(predict(model, WEEK, valid), WEEK.target(valid)).error
    history = train(model, training_data(WEEK, PROBLEM), objective, TRAINING, seed=1)
    assert min(history.valid) < 0.8 * untrained
    sizes = [
        count_parameters(build_model(Spec(kind=teacher, **TEACHERS[teacher]), WEEK.contract)) for teacher in teachers
    ]
    assert count_parameters(model) < sum(sizes)
    data = export_onnx(model, WEEK.contract, WEEK.inputs(valid[:2]))
    for rows in (valid[:1], valid):
        expected = predict(model, WEEK, rows)
        np.testing.assert_allclose(run_onnx(data, WEEK.inputs(rows)), expected, rtol=1e-4, atol=1e-3)
