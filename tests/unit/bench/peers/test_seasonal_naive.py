from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics import score
from bench.peers.seasonal_naive import carried, fit_predict, forecast
from bench.sets import BenchSet

Toy = Callable[..., BenchSet]


def test_the_last_season_is_repeated(toy: Toy) -> None:
    data = toy([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
    # After step 8 come, by season 3, the values of steps 6 and 7.
    assert forecast(data, 3, "test").mean[:, 0].tolist() == [[6, 7], [7, 8]]  # type: ignore[index]
    assert forecast(data, 1, "valid").mean[:, 0].tolist() == [[5, 5], [6, 6]]  # type: ignore[index]


def test_a_cycle_is_forecast_without_error_and_its_season_found(toy: Toy) -> None:
    data = toy([[0, 1, 2] * 6, [5, 5, 1] * 6])
    result = fit_predict(data.sealed(), 0)
    assert result.settings == {"season": 3} and result.tried["3"] == 0 < result.tried["1"]
    assert score(data, result.forecasts) == {"wape": 0, "wql": 0, "coverage": 1, "mse": 0, "mae": 0, "rmsse": 0}


def test_quantiles_are_the_series_own_differences_and_never_negative(toy: Toy) -> None:
    data = toy([[0, 0, 0, 3, 3, 3, 0, 0, 0, 3, 3, 3]])  # differences over a season up to step 8: +3 x 3, -3 x 3
    low, middle, high = forecast(data, 3, "test").quantiles[0, 0, 0]  # type: ignore[index]
    assert (low, middle, high) == (0, 0, 3)


def test_missing_values_are_those_of_a_season_before(toy: Toy) -> None:
    observed = np.ones((1, 12), np.bool_)
    observed[0, [0, 4, 7]] = False
    data = toy([[0, 1, 2, 3, 0, 5, 6, 0, 8, 9, 10, 11]], observed=observed)
    assert carried(data, 3, 8)[0].tolist() == [0, 1, 2, 3, 1, 5, 6, 1, 8]


@pytest.mark.parametrize("metric", ["wape", "mse"])
def test_nothing_after_an_origin_is_read(toy: Toy, metric: str) -> None:
    values = np.random.default_rng(0).random((3, 20))
    changed = values.copy()
    changed[:, 17:] = 99  # the origins are 16 and 17
    first = fit_predict(toy(values, metric=metric), 0).forecasts.mean[0]  # type: ignore[index]
    assert np.array_equal(first, fit_predict(toy(changed, metric=metric), 0).forecasts.mean[0])  # type: ignore[index]
