"""Runs where neuralforecast is: `make bench-test`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics import score
from bench.sets import BenchSet

pytest.importorskip("neuralforecast")

from neuralforecast.models import NHITS

from bench.peers import neural, patchtst, tsmixerx
from bench.peers.base import Unsuitable

Toy = Callable[..., BenchSet]
SMALL = neural.Network(NHITS, {"mlp_units": [[32, 32]] * 3, "learning_rate": 5e-3}, max_steps=50)


def test_a_wave_is_learned_and_every_window_forecast_in_place(channels: BenchSet) -> None:
    result = neural.fit_predict(channels.sealed(), 0, SMALL)
    # Shifted by a single step, the wave's error alone would be above 0.13.
    assert score(channels, result.forecasts)["mse"] < 0.1
    assert result.parameters > 1000 and result.size > 4 * result.parameters and result.settings["steps"] <= 51
    assert result.single is not None
    result.single()
    again = neural.fit_predict(channels.sealed(), 1, SMALL, result.settings)
    assert again.settings == result.settings and not again.tried


def test_quantiles_with_covariates_and_static_columns(weekly: BenchSet) -> None:
    past = {"heat": np.linspace(0, 1, 140, dtype=np.float32)[None]}
    data = replace(weekly, past=past)
    result = neural.fit_predict(data.sealed(), 0, SMALL)
    errors = score(data, result.forecasts)
    assert errors["wape"] < 0.55 and 0.4 < errors["coverage"] < 1
    assert {*result.tried} == {"window", "series"}
    assert result.single is not None
    result.single()


def test_nothing_after_an_origin_changes_its_forecast(channels: BenchSet) -> None:
    changed = channels.values.copy()
    changed[:, channels.origins.test[0] + 1 :] = 50
    few = replace(SMALL, max_steps=3)
    first, second = (
        neural.fit_predict(data, 0, few).forecasts.mean for data in (channels, replace(channels, values=changed))
    )
    assert first is not None and second is not None
    assert np.allclose(first[0], second[0], atol=1e-6) and not np.allclose(first[5], second[5])


def test_rows_are_scaled_by_the_series_size_and_masked_where_not_observed(toy: Toy) -> None:
    observed = np.ones((1, 12), np.bool_)
    observed[0, 0] = False
    data = toy([[0, 2, 4, 6, 4, 4, 9, 9, 9, 9, 9, 9]], observed=observed)
    table = neural.Panel(data, "series").table(0, 4)
    assert table["y"].to_list() == [0, 0.5, 1, 1.5] and table["available_mask"].to_list() == [0, 1, 1, 1]
    assert table["ds"].to_list() == [0, 1, 2, 3] and neural.Panel(data, "window").table(1, 3)["y"].to_list() == [2, 4]


def test_windows_of_all_series_and_what_is_known_of_them(weekly: BenchSet) -> None:
    data = replace(weekly, past={"heat": np.linspace(0, 1, 140, dtype=np.float32)[None]})
    small = replace(tsmixerx.NETWORK, options={**tsmixerx.NETWORK.options, "learning_rate": 1e-2}, max_steps=40)
    result = neural.fit_predict(data.sealed(), 0, small)
    # A promotion doubles sales: what does not know of it has a WAPE above 0.4.
    assert score(data, result.forecasts)["wape"] < 0.4 and result.single is None


def test_more_series_than_a_window_can_hold_are_left_out(toy: Toy) -> None:
    with pytest.raises(Unsuitable, match="toy: a window is of all 1001 series, more than 1000"):
        tsmixerx.fit_predict(toy(np.ones((1001, 20))).sealed(), 0)


def test_patches_are_learned_without_covariates(weekly: BenchSet) -> None:
    small = replace(patchtst.NETWORK, options={"hidden_size": 16, "n_heads": 2, "encoder_layers": 1}, max_steps=3)
    unknown = replace(weekly, known={})
    first, second = (neural.fit_predict(data.sealed(), 0, small).forecasts.mean for data in (weekly, unknown))
    assert first is not None and second is not None and np.array_equal(first, second)
