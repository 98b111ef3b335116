"""Runs where CatBoost is: `make bench-test`."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics import score
from bench.sets import BenchSet

pytest.importorskip("catboost")

from bench.peers import boosting, catboost, seasonal_naive


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
    # Two shops whose sales differ by ten times, and no number that says so: levels are taken out, and the codes are not
    # in order.
    shops = np.array(["a", "b", "c", "d"] * 5)
    factor = np.array([1, 9, 1, 9] * 5, np.float32)[:, None]
    pattern = np.array([1, 1, 1, 1, 2, 4, 3], np.float32)[np.arange(140) % 7]
    data = replace(weekly, values=factor * pattern, static={"shop": shops}, known={})
    assert score(data, catboost.fit_predict(data.sealed(), 0).forecasts)["wape"] < 0.1
