"""Runs where statsforecast is: `make bench-test`."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics import score
from bench.peers.base import Unsuitable
from bench.sets import BenchSet, rolling

pytest.importorskip("statsforecast")

from bench.peers import statistical

Toy = Callable[..., BenchSet]


def test_a_weekly_pattern_is_found_and_the_method_named(weekly: BenchSet) -> None:
    result = statistical.fit_predict(weekly.sealed(), 0)
    errors = score(weekly, result.forecasts)
    assert errors["wape"] < 0.35 and 0.5 < errors["coverage"] <= 1
    assert {*result.tried} == {"seasonal-smoothing", "seasonal-window-average", "ets", "theta"}
    assert result.settings["method"] == min(result.tried, key=lambda name: result.tried[name])


def test_the_mean_of_the_same_weekdays(toy: Toy) -> None:
    values = np.tile([0, 2, 4, 6, 8, 10, 12], 20)[None] + np.arange(20).repeat(7) % 2  # even and odd weeks differ by 1
    data = toy(values, seasons=(7,), horizon=7, context=28, origins=rolling(140, 7, 1, 7))
    method = statistical.candidates(data)["seasonal-window-average"]
    mean = statistical.forecast(data, method, "test").mean
    assert mean is not None and np.allclose(mean[0, 0], np.arange(0, 14, 2) + 0.5)


def test_series_without_enough_history_are_forecast_by_their_mean(weekly: BenchSet, toy: Toy) -> None:
    observed = np.ones((2, 140), np.bool_)
    observed[1, :120] = False
    values = np.where(observed, 6, 0)
    data = toy(values, observed=observed, seasons=(7,), horizon=7, context=28, origins=rolling(140, 7, 1, 7))
    method = statistical.candidates(data)["seasonal-smoothing"]
    forecasts = statistical.forecast(data, method, "test")
    assert forecasts.mean is not None and np.allclose(forecasts.mean[0, 1], 6)


def test_sets_of_thousands_of_windows_are_left_out(channels: BenchSet) -> None:
    with pytest.raises(Unsuitable, match="toy: a statistical model is fitted for each of 41 windows"):
        statistical.fit_predict(channels.sealed(), 0)
