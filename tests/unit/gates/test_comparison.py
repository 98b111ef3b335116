"""The paired bootstrap on cases with known answers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.gates.comparison import compare
from tasks.problems.base import Score

GROUPS = np.repeat(np.arange(400), 5)


def score(loss: NDArray[np.float64]) -> Score:
    return Score(loss, np.ones_like(loss), {})


def champion_loss() -> NDArray[np.float64]:
    return np.random.default_rng(0).lognormal(size=len(GROUPS))


def test_equal_models_differ_by_nothing() -> None:
    loss = champion_loss()
    result = compare(score(loss), score(loss), GROUPS, confidence=0.95, resamples=200, seed=1)
    assert (result.difference, result.low, result.high, result.groups) == (0.0, 0.0, 0.0, 400)


def test_ten_percent_worse_on_every_row_is_ten_percent_in_every_resample() -> None:
    loss = champion_loss()
    result = compare(score(1.1 * loss), score(loss), GROUPS, confidence=0.95, resamples=200, seed=1)
    assert [result.difference, result.low, result.high] == pytest.approx([0.1, 0.1, 0.1])


def test_interval_of_independent_noise_is_the_normal_one() -> None:
    # Champion 1 on each of 400 groups, candidate 1 + N(0, 0.5): the standard error of the difference is 0.5/20.
    noise = np.random.default_rng(3).normal(0, 0.5, 400)
    noise -= noise.mean()
    groups = np.arange(400)
    result = compare(score(1 + noise), score(np.ones(400)), groups, confidence=0.95, resamples=2000, seed=1)
    assert result.difference == pytest.approx(0, abs=1e-12)
    assert [result.low, result.high] == pytest.approx([-0.049, 0.049], abs=0.006)


def test_rows_of_one_group_count_as_one_observation() -> None:
    noise = np.repeat(np.random.default_rng(3).normal(0, 0.5, 400), 5)
    ones = score(np.ones(2000))
    blocks = compare(score(1 + noise), ones, GROUPS, confidence=0.95, resamples=500, seed=1)
    rows = compare(score(1 + noise), ones, np.arange(2000), confidence=0.95, resamples=500, seed=1)
    assert (blocks.high - blocks.low) / (rows.high - rows.low) == pytest.approx(5**0.5, rel=0.2)


def test_the_same_seed_gives_the_same_interval() -> None:
    loss, other = champion_loss(), np.random.default_rng(9).lognormal(size=len(GROUPS))
    first, second, third = (
        compare(score(other), score(loss), GROUPS, confidence=0.9, resamples=150, seed=seed) for seed in (1, 1, 2)
    )
    assert first == second
    assert first != third


def test_one_group_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="at least 2 groups, there is 1"):
        compare(score(np.ones(3)), score(np.ones(3)), np.zeros(3, np.int64), confidence=0.95, resamples=100, seed=1)
