"""The paired bootstrap on cases with known answers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.gates.comparison import compare
from tasks.problems.base import Clusters, Score

GROUPS = np.repeat(np.arange(400), 5)
EACH = np.arange(400)


def score(loss: NDArray[np.float64]) -> Score:
    return Score(loss, np.ones_like(loss), {})


def clusters(groups: NDArray[np.int64]) -> Clusters:
    return Clusters(groups, np.zeros((len(groups), 1), np.int64))


def champion_loss() -> NDArray[np.float64]:
    return np.random.default_rng(0).lognormal(size=2000)


def test_equal_models_differ_by_nothing() -> None:
    loss = champion_loss()
    result = compare(score(loss), score(loss), clusters(GROUPS), confidence=0.95, resamples=200, seed=1)
    assert (result.difference, result.low, result.high, result.groups) == (0.0, 0.0, 0.0, 400)


def test_ten_percent_worse_on_every_row_is_ten_percent_in_every_resample() -> None:
    loss = champion_loss()
    result = compare(score(1.1 * loss), score(loss), clusters(GROUPS), confidence=0.95, resamples=200, seed=1)
    assert [result.difference, result.low, result.high] == pytest.approx([0.1, 0.1, 0.1])


def test_interval_of_independent_noise_is_the_normal_one() -> None:
    # Champion 1 on each of 400 groups, candidate 1 + N(0, 0.5): the standard error of the difference is 0.5/20.
    noise = np.random.default_rng(3).normal(0, 0.5, 400)
    noise -= noise.mean()
    result = compare(score(1 + noise), score(np.ones(400)), clusters(EACH), confidence=0.95, resamples=2000, seed=1)
    assert result.difference == pytest.approx(0, abs=1e-12)
    assert [result.low, result.high] == pytest.approx([-0.049, 0.049], abs=0.006)


def test_rows_of_one_group_count_as_one_observation() -> None:
    noise = np.repeat(np.random.default_rng(3).normal(0, 0.5, 400), 5)
    ones = score(np.ones(2000))
    blocks = compare(score(1 + noise), ones, clusters(GROUPS), confidence=0.95, resamples=500, seed=1)
    rows = compare(score(1 + noise), ones, clusters(np.arange(2000)), confidence=0.95, resamples=500, seed=1)
    assert (blocks.high - blocks.low) / (rows.high - rows.low) == pytest.approx(5**0.5, rel=0.2)


def test_the_same_seed_gives_the_same_interval() -> None:
    loss, other = champion_loss(), np.random.default_rng(9).lognormal(size=2000)
    first, second, third = (
        compare(score(other), score(loss), clusters(GROUPS), confidence=0.9, resamples=150, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == second
    assert first != third


def by_step(loss: NDArray[np.float64]) -> Score:
    """loss (rows, steps), of weight 1 each."""
    parts = np.stack([loss, np.ones_like(loss)])
    return Score(loss.sum(axis=1), parts[1].sum(axis=1), {}, parts.astype(np.float32))


def test_what_hits_all_entities_on_one_day_is_in_the_interval() -> None:
    # 300 entities of 10 days; the candidate's loss is 1 + a shock of the day that all share, deviation 0.1: the
    # standard error of the mean is 0.1 / sqrt(10), and t with 9 degrees of freedom has 2.262 at 97.5 %.
    shock = np.random.default_rng(1).normal(0, 1, 10)
    shock = 0.1 * (shock - shock.mean()) / shock.std(ddof=1)
    candidate, champion = by_step(np.tile(1 + shock, (300, 1))), by_step(np.ones((300, 10)))
    days = np.tile(np.arange(10), (300, 1))
    both = compare(candidate, champion, Clusters(np.arange(300), days), confidence=0.95, resamples=4000, seed=1)
    assert (both.groups, both.blocks) == (300, 10)
    assert str(both).endswith("300 groups x 10 blocks of time")
    assert both.high - both.low == pytest.approx(2 * 0.0715, rel=0.1)
    alone = compare(candidate, champion, clusters(np.arange(300)), confidence=0.95, resamples=200, seed=1)
    assert alone.high == pytest.approx(0, abs=1e-6), "whole entities alone see no scatter at all"


def test_a_single_entity_is_resampled_over_time() -> None:
    noise = np.random.default_rng(3).normal(0, 0.2, (1, 50))
    candidate, champion = by_step(1 + noise), by_step(np.ones((1, 50)))
    found = compare(
        candidate,
        champion,
        Clusters(np.zeros(1, np.int64), np.arange(50)[None]),
        confidence=0.95,
        resamples=2000,
        seed=1,
    )
    assert found.high - found.low == pytest.approx(2 * 2.01 * noise.std(ddof=1) / 50**0.5, rel=0.1)


def test_rows_of_the_same_day_and_entity_share_a_cell_whatever_their_origin() -> None:
    # Every row twice, from another origin and in another order: nothing new is known.
    loss = np.random.default_rng(5).lognormal(0, 0.3, (40, 6))
    days = np.tile(np.arange(6), (40, 1))
    once = compare(
        by_step(loss), by_step(np.ones_like(loss)), Clusters(np.arange(40), days), confidence=0.9, resamples=300, seed=1
    )
    twice = np.concatenate([loss, loss[::-1, ::-1]])
    entities = np.concatenate([np.arange(40), np.arange(40)[::-1]])
    again = compare(
        by_step(twice),
        by_step(np.ones_like(twice)),
        Clusters(entities, np.concatenate([days, days[:, ::-1]])),
        confidence=0.9,
        resamples=300,
        seed=1,
    )
    assert [again.low, again.high] == pytest.approx([once.low, once.high], rel=1e-6)


def test_one_group_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="at least 2 groups or blocks of time"):
        compare(
            score(np.ones(3)),
            score(np.ones(3)),
            clusters(np.zeros(3, np.int64)),
            confidence=0.95,
            resamples=100,
            seed=1,
        )
