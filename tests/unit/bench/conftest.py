"""Small sets whose numbers are known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.sets import BenchSet, Origins, rolling


def make_set(values: Any, **changes: Any) -> BenchSet:
    """A daily set of the given values (N, T): horizon 2, season 3, two origins a split, one step apart."""
    array = np.asarray(values, np.float32)
    count, steps = array.shape
    base = BenchSet(
        name="toy",
        series=np.array([f"s{number}" for number in range(count)]),
        values=array.copy(),
        observed=np.ones(array.shape, np.bool_),
        times=np.datetime64("2024-01-01", "us") + np.arange(steps) * np.timedelta64(1, "D"),
        frequency="D",
        seasons=(3,),
        horizon=2,
        context=6,
        metric="wape",
        origins=rolling(steps, 2, 2, 1),
    )
    return replace(base, **changes)


@pytest.fixture(scope="session")
def toy() -> Callable[..., BenchSet]:
    return make_set


@pytest.fixture(scope="session")
def weekly() -> BenchSet:
    """Twenty series over 140 days, each a weekly pattern of its own size; a promotion doubles sales."""
    rng = np.random.default_rng(0)
    promotion = (rng.random((20, 140)) < 0.15).astype(np.float32)
    pattern = np.array([1, 1, 1, 1, 2, 4, 3])[np.arange(140) % 7]
    sales = rng.poisson(rng.uniform(2, 30, (20, 1)) * pattern * (1 + promotion))
    return make_set(
        sales,
        seasons=(7,),
        horizon=7,
        context=28,
        origins=rolling(140, 7, 2, 7),
        known={"promotion": promotion},
        static={"shop": np.array(["a", "b"] * 10)},
    )


@pytest.fixture(scope="session")
def channels() -> BenchSet:
    """Two channels of a noisy daily wave over 300 steps, scored by MSE at every origin."""
    rng = np.random.default_rng(1)
    wave = np.sin(2 * np.pi * np.arange(300) / 12) + rng.normal(0, 0.1, (2, 300))
    origins = Origins(train_end=199, valid=tuple(range(199, 240)), test=tuple(range(249, 290)))
    return make_set(wave, metric="mse", seasons=(12,), horizon=8, context=24, origins=origins)
