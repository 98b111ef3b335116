"""Sampled softmax: what a few drawn items say of the whole catalogue."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.models import build_model
from tasks.problems.ranking.losses import sampled_cross_entropy
from tasks.problems.ranking.models.sequence import SequenceRanker
from tests.unit.problems.ranking.films import dataset

ITEMS, DRAWN, TIMES = 200, 20, 4000


def test_drawn_items_stand_for_the_catalogue_on_average() -> None:
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(rng.normal(0, 1, ITEMS))
    right = scores[7].repeat(TIMES)
    items = torch.from_numpy(rng.integers(ITEMS, size=(TIMES, DRAWN)))
    found = sampled_cross_entropy(right, scores[items], items == 7, ITEMS)
    shares = (-found).exp()
    truth = float(scores.softmax(dim=0)[7])
    assert float((1 / shares).mean() * truth) == pytest.approx(1, abs=0.02), "sums of exponents are right on average"
    unweighed = -functional.log_softmax(torch.cat([right[:, None], scores[items]], dim=1), dim=1)[:, 0]
    assert float(unweighed.mean()) < 0.7 * float(-np.log(truth)), "plain drawn items would look far too easy"


def test_what_came_is_no_other_item() -> None:
    right, others = torch.tensor([2.0]), torch.tensor([[2.0, 1.0]])
    with_it = sampled_cross_entropy(right, others, torch.tensor([[True, False]]), 5)
    without = sampled_cross_entropy(right, others[:, 1:], torch.tensor([[False]]), 5)
    torch.testing.assert_close(with_it, without)
    alone = sampled_cross_entropy(right, others, torch.tensor([[True, True]]), 5)
    assert float(alone) == pytest.approx(0, abs=1e-6), "nothing was drawn that it could be told apart from"


def fitted(**options: Any) -> tuple[SequenceRanker, list[float], list[int]]:
    made = dataset(split="leave-one-out")
    torch.manual_seed(0)
    spec = {"width": 8, "layers": 1, "epochs": 6, "dropout": 0.0, "learning_rate": 0.02} | options
    model = build_model(Spec(kind="sequence-transformer", **spec), made.contract)
    assert isinstance(model, SequenceRanker)
    widths: list[int] = []
    whole = model.scores

    def scores(users: torch.Tensor, items: torch.Tensor | None = None) -> torch.Tensor:
        found = whole(users, items)
        if model.training:
            widths.append(found.shape[-1])
        return found

    model.scores = scores  # type: ignore[method-assign]
    errors = model.fit(made, made.splits["train"], made.splits["valid"], seed=0)
    return model, errors, widths


def test_training_scores_the_drawn_items_alone_and_learns() -> None:
    _, before, _ = fitted(epochs=1, learning_rate=1e-9)
    model, errors, widths = fitted(negatives=10)
    assert set(widths) == {10} and len(model.bias) > 10
    assert min(errors) < min(before) - 0.05


def test_as_many_as_there_are_is_the_whole_catalogue() -> None:
    whole, _, _ = fitted(epochs=1)
    many, _, widths = fitted(epochs=1, negatives=10_000)
    assert set(widths) == {len(whole.bias)}
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(many.state_dict()[name], value)


@pytest.mark.parametrize("negatives", [0, -5, 1.5])
def test_a_number_that_draws_nothing_is_refused(negatives: float) -> None:
    with pytest.raises(ConfigError, match="negatives"):
        build_model(Spec(kind="sequence-gru", negatives=negatives), dataset(split="leave-one-out").contract)
