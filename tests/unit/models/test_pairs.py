"""Every pair of teacher and student that is meant to work: trained by the real trainer, exported, and better by it."""

from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.config import Spec, Student, Teacher, Training
from tasks.distillation.student import fine_tuning_objective, training_data
from tasks.distillation.teacher import teach
from tasks.distillation.trainer import predict, set_up, train
from tasks.models import build_model, count_parameters
from tasks.problems import get_problem
from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Rows
from tests.unit.models.windows import SMALL

CONTEXT, HORIZON, SERIES, DAYS = 14, 5, 6, 80
TRAINING = Training(epochs=7, batch_size=32, learning_rate=0.03, patience=5)
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


class Week(Dataset):
    """Series of different sizes with one weekly pattern, which a promotion, known ahead, doubles for a day.

    Covariates of a day: promotion, one-hot weekday. Where training starts, half the pattern and no promotion is known.
    The place in the season where the forecast begins is the first static code, the series the second one.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        promotion = (rng.random((SERIES, DAYS)) < 0.2).astype(np.float32)
        weekday = np.arange(DAYS) % 7
        level = np.arange(1, SERIES + 1)[:, None] * 5
        mean = level * np.array([1, 1, 1, 1, 2, 6, 4])[weekday] * (1 + promotion)
        self.units: Floats = rng.normal(mean, 0.1 * mean).clip(0).astype(np.float32)
        self.promotion: Floats = promotion[:, :, None]
        self.week: Floats = np.eye(7, dtype=np.float32)[weekday]
        origins = np.arange(CONTEXT - 1, DAYS - HORIZON)
        self.origins = np.repeat(origins, SERIES)
        self.groups = np.tile(np.arange(SERIES), len(origins))
        self.segments = {}
        rows = np.arange(len(self.origins))
        self.splits = {
            "train": rows[self.origins < 60],
            "valid": rows[self.origins >= 65],
            "test": rows[self.origins >= 65],
        }
        self.contract = FeatureContract(
            problem="forecasting",
            inputs={
                "history": ("float32", (CONTEXT, 2)),
                "future": ("float32", (HORIZON, 1)),
                "static": ("int64", (2,)),
                "past": ("float32", (CONTEXT, 8)),
                "calendar": ("float32", (HORIZON, 7)),
            },
            output_shape=(HORIZON, 3),
            categories={"phase": tuple(map(str, range(7))), "store_id": tuple(map(str, range(SERIES)))},
            statistics={"mean_units": float(self.units.mean())},
            settings={"options": {"horizon": HORIZON, "context": CONTEXT, "season": 7, "quantiles": (0.1, 0.5, 0.9)}},
        )

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        line, past = self.groups[rows][:, None], self.origins[rows][:, None] + np.arange(1 - CONTEXT, 1)
        ahead, units = self._ahead(rows), self.units[line, past][:, :, None]
        found: Inputs = {
            "history": np.concatenate([units, np.ones_like(units)], axis=2),
            "future": self.promotion[line, ahead],
            "static": np.concatenate([ahead[:, :1] % 7, line], axis=1),
            "past": np.concatenate([self.promotion[line, past], self.week[past]], axis=2),
            "calendar": self.week[ahead],
        }
        return {name: found[name] for name in names or found}

    def target(self, rows: Rows) -> Floats:
        values: Floats = self.units[self.groups[rows][:, None], self._ahead(rows)]
        return values

    def _ahead(self, rows: Rows) -> NDArray[np.int64]:
        days: NDArray[np.int64] = self.origins[rows][:, None] + np.arange(1, HORIZON + 1)
        return days

    def save(self, folder: Path) -> None:
        raise NotImplementedError


WEEK = Week()


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
