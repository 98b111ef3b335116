"""A row that is left alone at the end of an epoch is trained on, also by a model that normalises batches."""

import numpy as np
import torch
from torch import nn

from tasks.core.config import Spec
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.trainer import TrainingData, _parts, train
from tasks.problems.models import build_model
from tests.unit.problems.vision import shapes


def test_one_row_left_alone_joins_the_step_before() -> None:
    rows, problem = shapes.dataset(), shapes.problem()
    torch.set_num_threads(1)
    model = build_model(Spec(kind="resnet", blocks=[1, 1, 1, 1], width=4), rows.contract)
    data = TrainingData(
        rows, rows.splits["train"][:17], rows.splits["valid"], lambda out, truth: problem.score(out, truth).error
    )
    training = Training(epochs=1, batch_size=8, learning_rate=0.01)
    history = train(model, data, Objective(rows, problem.hard_loss(rows.contract)), training, seed=0)
    assert len(history.train) == 1 and np.isfinite(history.train).all()


def test_steps_of_other_models_stay_as_they_are() -> None:
    plain, normed = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    sizes = {
        model: [part.stop - part.start for part in _parts(17, 8, module)]
        for model, module in (("plain", plain), ("normed", normed))
    }
    assert sizes == {"plain": [8, 8, 1], "normed": [8, 9]}
    assert [len(_parts(count, 8, normed)) for count in (1, 8, 16, 18)] == [1, 1, 2, 3]
