from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics import QUANTILES, Forecasts, score
from bench.sets import BenchSet, Origins
from tasks.core.errors import DataError

Toy = Callable[..., BenchSet]
ONE = Origins(train_end=2, valid=(2,), test=(5,))


@pytest.fixture
def pair(toy: Toy) -> BenchSet:
    """Up to the origin, step 5, the first series moves by 1 and 2 in turn, the second never."""
    return toy([[0, 1, 3, 4, 6, 7, 4, 6], [5, 5, 5, 5, 5, 5, 10, 0]], origins=ONE)


def flat(*values: float) -> np.ndarray:
    """(1 window, 2 series, 2 steps) of one value a series."""
    return np.repeat(np.array(values, np.float32)[None, :, None], 2, axis=2)


def test_wape_is_the_error_of_the_median_over_volume(pair: BenchSet) -> None:
    quantiles = np.stack([flat(0, 0), flat(5, 5), flat(9, 9)], axis=-1)
    # |4 - 5| + |6 - 5| + |10 - 5| + |0 - 5| = 12, over 20.
    assert score(pair, Forecasts(quantiles=quantiles))["wape"] == pytest.approx(12 / 20)


def test_wql_scales_pinball_by_volume(pair: BenchSet) -> None:
    quantiles = np.stack([flat(0, 0), flat(5, 5), flat(9, 9)], axis=-1)
    low = 0.1 * (4 + 6 + 10 + 0)
    middle = 0.5 * 12
    high = 0.1 * (5 + 3 + 9) + 0.9 * 1  # only 10 lies above 9
    errors = score(pair, Forecasts(quantiles=quantiles))
    assert errors["wql"] == pytest.approx(2 * (low + middle + high) / 3 / 20)
    assert errors["coverage"] == 3 / 4


def test_wql_of_one_value_for_all_quantiles_is_its_wape(pair: BenchSet) -> None:
    errors = score(pair, Forecasts(quantiles=np.repeat(flat(5, 5)[..., None], len(QUANTILES), axis=-1)))
    assert errors["wql"] == pytest.approx(errors["wape"])


def test_rmsse_by_the_m5_definition(pair: BenchSet) -> None:
    # Mean squared step of the first series: (1 + 4 + 1 + 4 + 1) / 5 = 2.2; errors 1 and 1. The second has no scale.
    errors = score(pair, Forecasts(mean=flat(5, 5)))
    assert errors["rmsse"] == pytest.approx(np.sqrt(1 / 2.2))
    assert errors["mse"] == pytest.approx((1 + 1 + 25 + 25) / 4) and errors["mae"] == 3


def test_rmsse_starts_with_the_series(toy: Toy) -> None:
    observed = np.ones((1, 8), np.bool_)
    observed[0, :3] = False
    data = toy([[0, 0, 0, 4, 6, 7, 4, 6]], origins=ONE, observed=observed)
    # The rise from 0 to 4 is no step of the series: (4 + 1) / 2.
    assert score(data, Forecasts(mean=flat(5)[:, :1]))["rmsse"] == pytest.approx(np.sqrt(1 / 2.5))


def test_steps_without_an_observation_do_not_count(toy: Toy) -> None:
    observed = np.ones((1, 8), np.bool_)
    observed[0, 7] = False
    data = toy([[0, 1, 3, 4, 6, 7, 4, 0]], origins=ONE, observed=observed)
    mean = np.array([[[5, np.nan]]], np.float32)
    assert score(data, Forecasts(mean=mean))["mse"] == 1


def test_perfect_forecasts_have_no_error(pair: BenchSet) -> None:
    actual = pair.targets((5,))[0]
    errors = score(pair, Forecasts(actual, np.repeat(actual[..., None], 3, axis=-1)))
    assert {name: value for name, value in errors.items() if name != "coverage"} == dict.fromkeys(
        ("wape", "wql", "mse", "mae", "rmsse"), 0
    )


def test_the_validation_split_has_its_own_windows(pair: BenchSet) -> None:
    assert score(pair, Forecasts(mean=flat(4, 5)), "valid")["mse"] == pytest.approx((0 + 4) / 4)


@pytest.mark.parametrize(
    ("forecasts", "message"),
    [
        (Forecasts(mean=np.zeros((2, 2, 2), np.float32)), r"mean: forecasts are \(2, 2, 2\)"),
        (Forecasts(quantiles=np.zeros((1, 2, 2, 2), np.float32)), r"the test windows are \(1, 2, 2, 3\)"),
        (Forecasts(mean=flat(np.nan, 0)), "mean: a forecast is not a finite number"),
        (Forecasts(), "neither mean nor quantiles"),
    ],
)
def test_unusable_forecasts_are_refused(pair: BenchSet, forecasts: Forecasts, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(pair, forecasts)


def test_a_sealed_set_cannot_be_scored_on_its_test_windows(pair: BenchSet) -> None:
    with pytest.raises(DataError, match="sealed"):
        score(pair.sealed(), Forecasts(mean=flat(0, 0)))
