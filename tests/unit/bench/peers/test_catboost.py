"""Runs where CatBoost is: `make bench-test`."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics import score
from bench.sets import BenchSet

pytest.importorskip("catboost")

from bench.peers import boosting, catboost, seasonal_naive
from bench.peers.table import Table


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catboost, "TREES", 30)
    monkeypatch.setattr(catboost, "DEPTHS", (3, 4))
    monkeypatch.setattr(catboost, "BASE", {**catboost.BASE, "thread_count": 1, "learning_rate": 0.3})


def test_it_learns_promotions_that_seasonal_naive_cannot_know(weekly: BenchSet) -> None:
    result = catboost.fit_predict(weekly.sealed(), 0)
    errors = score(weekly, result.forecasts)
    naive = score(weekly, seasonal_naive.fit_predict(weekly.sealed(), 0).forecasts)
    assert errors["wape"] < 0.7 * naive["wape"] and errors["rmsse"] < 0.8 * naive["rmsse"]
    assert {key.split()[0] for key in result.tried} == {"regression_l1", "regression", "tweedie"}
    assert result.single is not None and result.size > 1000
    single = result.single()
    assert isinstance(single, dict) and single["mean"].shape == (1, 1, 7)
    json.dumps(dict(result.settings))


def test_trees_of_the_mean_alone_have_leaves_and_a_split_a_level(channels: BenchSet) -> None:
    result = catboost.fit_predict(channels.sealed(), 0)
    assert result.forecasts.quantiles is None and score(channels, result.forecasts)["mse"] < 0.03
    depth = boosting.Choice.named(**result.settings["mean"]).size
    assert result.parameters == result.settings["mean"]["trees"] * (2**depth + depth)


def test_a_category_is_told_apart(weekly: BenchSet) -> None:
    table = Table(weekly, "none")
    rng = np.random.default_rng(0)
    pairs = (rng.integers(0, 20, 500), rng.integers(30, 100, 500), np.ones((500, 1), np.int64))
    rows = boosting.learned(table, pairs, "regression")
    shop = rows.x[:, -1]
    library = catboost.CatBoost((3, 4), 30)
    # Of shop 1 the target is 9, of shop 0 it is 1, and nothing else tells of it.
    told = library.prepare(replace(rows, target=1 + 8 * shop, weight=None))
    assert told.get_cat_feature_indices() == [rows.x.shape[1] - 1] and {*shop.tolist()} == {0, 1}
    output = library.fit(told, "regression", 3, 30, 0).predict(rows.x, 30)
    assert np.abs(output - (1 + 8 * shop)).mean() < 1
