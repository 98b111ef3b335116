import json

import lightgbm as lgb
import numpy as np
import pytest

from bench.metrics import score
from bench.peers import boosting, get_peer, lightgbm, record, seasonal_naive
from bench.peers.table import Table
from bench.sets import BenchSet


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightgbm, "TREES", 25)
    monkeypatch.setattr(lightgbm, "LEAVES", (7, 15))
    monkeypatch.setattr(
        lightgbm, "BASE", {**lightgbm.BASE, "num_threads": 1, "learning_rate": 0.25, "min_data_in_leaf": 20}
    )


def test_it_learns_promotions_that_seasonal_naive_cannot_know(weekly: BenchSet) -> None:
    result = lightgbm.fit_predict(weekly.sealed(), 0)
    errors = score(weekly, result.forecasts)
    naive = score(weekly, seasonal_naive.fit_predict(weekly.sealed(), 0).forecasts)
    assert errors["wape"] < 0.7 * naive["wape"] and errors["wql"] < 0.7 * naive["wql"]
    assert errors["rmsse"] < 0.8 * naive["rmsse"] and 0.6 < errors["coverage"] < 0.95
    quantiles = result.forecasts.quantiles
    assert quantiles is not None and (np.diff(quantiles, axis=-1) >= 0).all()
    assert {key.split()[0] for key in result.tried} == {"regression_l1", "regression", "tweedie"}
    assert result.single is not None
    single = result.single()
    assert isinstance(single, dict) and single["0.5"].shape == (1, 1, 7)
    json.dumps(dict(result.settings))


def test_the_mean_alone_for_sets_scored_by_mse(channels: BenchSet) -> None:
    result = lightgbm.fit_predict(channels.sealed(), 0)
    assert result.forecasts.quantiles is None
    # The wave's variance is 0.5, the noise's 0.01.
    assert score(channels, result.forecasts)["mse"] < 0.03


def test_equal_seeds_give_equal_forecasts(channels: BenchSet) -> None:
    first, again, other = (lightgbm.fit_predict(channels.sealed(), seed).forecasts.mean for seed in (0, 0, 1))
    assert first is not None and again is not None and other is not None
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_another_seed_takes_over_what_was_tuned(channels: BenchSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "load", lambda _: channels)
    first = record.measure("channels", "lightgbm", 0)
    monkeypatch.setattr(boosting, "tune", lambda *_: pytest.fail("tuned again"))
    second = record.measure("channels", "lightgbm", 1, first)
    assert second["settings"] == first["settings"] and second["tried"] == first["tried"]
    assert second["errors"] != first["errors"]
    assert second["train_seconds"] - second["fit_seconds"] == pytest.approx(
        first["train_seconds"] - first["fit_seconds"], abs=0.01
    )


def test_parameters_are_leaves_and_thresholds(channels: BenchSet) -> None:
    table = Table(channels, "none")
    rows = boosting.learned(table, table.sample(199, 0, 2000, np.random.default_rng(0)), "regression")
    data = lightgbm.LightGBM((4, 4), 3).prepare(rows)
    booster = lgb.train({"num_leaves": 4, "verbosity": -1, "num_threads": 1}, data, 3)
    assert lightgbm.Booster(booster, 3).parameters() == 3 * (4 + 3)


def test_a_measurement_says_what_it_took(channels: BenchSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "load", lambda _: channels)
    said = record.measure("channels", "lightgbm", 0)
    assert said["rows"] == 41 * 2 and said["chosen_on"] == "validation" and {*said["errors"]} == {"mse", "mae"}
    assert said["rows_per_second"]["full"] > 0 and said["rows_per_second"]["batch_1"] > 0
    assert said["peak_memory_mb"] >= said["memory_before_mb"] > 10 and said["bytes"] > 1000 < said["parameters"] * 10
    assert get_peer("lightgbm") is lightgbm.fit_predict
