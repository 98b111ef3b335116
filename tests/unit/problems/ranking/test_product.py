"""A product of items by items says what is popular only as far as that ranks better."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch

from tasks.core.config import Spec
from tasks.distillation.trainer import predict
from tasks.problems.base import Floats
from tasks.problems.models import build_model
from tasks.problems.ranking.baselines import simple
from tasks.problems.ranking.dataset import HISTORY, Histories
from tasks.problems.ranking.metrics import score_ranking
from tasks.problems.ranking.models import product
from tasks.problems.ranking.models.product import Ease
from tests.unit.problems.ranking.films import AS_OF, dataset

CHAINS, LENGTH, HITS, USERS, EVENTS = 60, 6, 30, 150, 14


def hits_and_chains() -> pl.DataFrame:
    """Each user goes through the films of one chain, and sees hits by chance in between, which nothing foretells."""
    rng = np.random.default_rng(5)
    chances = 1 / np.arange(1, HITS + 1)
    rows = []
    for user in range(USERS):
        chain, place = int(rng.integers(CHAINS)), int(rng.integers(LENGTH))
        had: set[str] = set()
        for number in range(EVENTS):
            if rng.random() < 0.6:
                film = f"hit{int(rng.choice(HITS, p=chances / chances.sum())):02d}"
            else:
                film, place = f"f{chain:02d}-{place % LENGTH}", place + 1
            if film not in had:
                had.add(film)
                day = AS_OF - timedelta(days=4 * (EVENTS - 1 - number) + user % 4)
                rows.append((f"u{user:03d}", film, day, float(number)))
    return pl.DataFrame(rows, ["user", "item", "time", "clock"], orient="row").sort("user", "item")


def fitted(made: Histories) -> Ease:
    model = build_model(Spec(kind="ease", regularisation=5.0), made.contract)
    assert isinstance(model, Ease)
    model.fit(made, made.splits["train"], made.splits["valid"], seed=0)
    return model.eval()


def test_popularity_counts_as_far_as_it_ranks_better(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dataset(hits_and_chains(), split="leave-one-out")
    rows = made.splits["test"]
    chosen = score_ranking(predict(fitted(made), made, rows), made.target(rows)).error
    monkeypatch.setattr(product, "SHARES", (1.0,))
    likeliest = score_ranking(predict(fitted(made), made, rows), made.target(rows)).error
    assert chosen < 0.97 * likeliest, "the likeliest power of popularity ranks hits before what comes next"


def test_a_user_without_a_history_gets_what_is_popular(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dataset(split="time")
    rows = made.splits["valid"][:1]
    popular = simple(made)["popularity"](rows)[0]

    def told() -> Floats:
        empty = torch.zeros_like(torch.from_numpy(made.inputs(rows)[HISTORY]))
        with torch.no_grad():
            told: Floats = fitted(made)(empty)[0].numpy()
        return told

    assert np.corrcoef(np.log1p(popular), told())[0, 1] > 0.99
    monkeypatch.setattr(product, "LEAST_POWER", -1.0)
    assert np.corrcoef(np.log1p(popular), told())[0, 1] < 0, "here the likeliest power is below 0"
