"""Models side by side, each trained alone."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from bench.ours.alone import CHOICES, beside, choice_of, exported, trained, trained_again
from tasks.core.config import Spec
from tasks.distillation.options import Training
from tasks.distillation.trainer import predict
from tasks.problems import get_problem
from tasks.problems.models import build_model
from tests.unit.problems.forecasting.models.week import CONTEXT, HORIZON, WEEK
from tests.unit.problems.forecasting.models.windows import contract_of


@pytest.mark.parametrize("name", CHOICES)
def test_each_choice_is_a_model_and_a_training(name: str) -> None:
    for kind in CHOICES[name]["models"]:
        spec, training = choice_of(name, kind)
        assert training.epochs >= 8 and training.learning_rate > 0
        build_model(spec, contract_of(context=336, horizon=24, season=168))


TRAINING = Training(epochs=3, batch_size=64, batches_per_epoch=20, learning_rate=0.01)


@pytest.mark.parametrize("options", [{"kind": "match", "heads": 2}, {"kind": "lightgbm", "trees": 20, "min_leaf": 5}])
def test_a_model_is_trained_on_the_truth_alone_and_equally_each_time(options: dict[str, Any]) -> None:
    problem = get_problem(Spec(kind="forecasting", horizon=HORIZON, context=CONTEXT))
    threads = torch.get_num_threads()
    try:
        spec = Spec(**options)
        (model, error, history), (_, equal, _) = (trained(WEEK, problem, spec, TRAINING, seed=0) for _ in range(2))
        same = copy.copy(WEEK)
        same.splits = {**WEEK.splits, "valid": np.empty(0, np.int64)}
        again = trained_again(same, problem, spec, TRAINING, 0, history)
        rows = WEEK.splits["valid"]
        np.testing.assert_array_equal(predict(again, WEEK, rows), predict(model, WEEK, rows))
        times = beside(dict.fromkeys(("one", "other"), exported(model, WEEK)), WEEK)
    finally:
        torch.set_deterministic_debug_mode("default")
        torch.set_num_threads(threads)
    assert np.isfinite(error) and error == equal and not model.training
    assert times["one"] == 1 and 0 < times["other"] < np.inf
