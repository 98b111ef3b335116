"""What a bag says of a token that training never saw."""

import numpy as np
import torch

from tasks.core.config import Spec
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.trainer import TrainingData, set_up, train
from tasks.problems.models import build_model
from tasks.problems.text.models.bag import Bag
from tests.unit.problems.text.letters import dataset, problem

TRAINING = Training.model_validate({"epochs": 3, "batch_size": 32, "learning_rate": 0.02})


def trained(deviation: float) -> tuple[Bag, torch.Tensor]:
    """A bag that learned, and which of its rows training looked up."""
    made = dataset()
    set_up(1, 1)
    model = build_model(Spec(kind="bag", width=4, rows=4093, drop_tokens=0, deviation=deviation), made.contract)
    assert isinstance(model, Bag)
    data = TrainingData(made, made.splits["train"], made.splits["valid"], lambda *_: 0.0)
    train(model, data, Objective(made, problem().hard_loss(made.contract)), TRAINING, seed=1)
    return model, model.seen(made.inputs(made.splits["train"])) > 0


def test_vectors_that_begin_as_nothing_stay_so_unless_training_sees_their_token() -> None:
    model, seen = trained(0.0)
    vectors = model.token_vectors().detach()
    assert 100 < int(seen.sum()) < len(seen) - 100
    assert not vectors[~seen].any() and float((vectors[seen].abs().sum(dim=1) > 0).float().mean()) > 0.9
    grams = np.zeros((2, 96), np.int64)
    grams[:, :3] = np.flatnonzero(seen.numpy())[:3]
    grams[:, 3] = 1 + np.flatnonzero(~seen.numpy()[1:])[:2]
    with torch.no_grad():
        one, other = model(torch.from_numpy(grams))
    assert torch.equal(one, other)


def test_other_vectors_add_what_chance_gave_them() -> None:
    model, seen = trained(0.1)
    assert float(model.token_vectors().detach()[~seen][1:].std()) > 0.05
