"""Metrics of rankings: over the whole catalogue, and never flattered by what is no number."""

import numpy as np
import pytest

from tasks.problems.ranking.metrics import best_of, ranks_of, score_ranking

TARGET = np.array([[-1, 0, 1, 0, 0], [0, 1, 0, 0, 0]], np.int8)


def test_a_rank_counts_what_stands_before_but_not_what_the_user_had() -> None:
    scores = np.array([[9, 8, 7, 6, 5], [1, 2, 3, 4, 0]], np.float32)
    assert ranks_of(scores, TARGET).tolist() == [1, 2]
    assert best_of(scores, TARGET, 2).tolist() == [[1, 2], [3, 2]]
    found = score_ranking(scores, TARGET)
    assert found.loss.tolist() == pytest.approx([1 - 1 / np.log2(3), 0.5])
    assert found.metrics["hr_10"] == 1 and found.metrics["mrr"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_of_equal_scores_the_truth_stands_last() -> None:
    """A model that says the same of all items knows nothing."""
    assert ranks_of(np.zeros((2, 5), np.float32), TARGET).tolist() == [3, 4]


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_never_a_rank(odd: float) -> None:
    scores = np.full((2, 5), odd, np.float32)
    found = score_ranking(scores, TARGET)
    assert np.isnan(found.error) and np.isnan(found.metrics["hr_10"]) and np.isnan(found.metrics["mrr"])
    one = np.array([[9, 8, 7, 6, 5], [1, 2, 3, odd, 0]], np.float32)
    assert np.isnan(score_ranking(one, TARGET).error)


def test_what_the_catalogue_lacks_is_a_miss() -> None:
    none = np.array([[-1, 0, 0, 0, 0]], np.int8)
    assert score_ranking(np.ones((1, 5), np.float32), none).loss.tolist() == [1]


def test_a_sample_of_negatives_would_flatter() -> None:
    """Ranked among 100 drawn items instead of all 2,000, a model of popularity looks many times as good as it is."""
    rng = np.random.default_rng(0)
    rows, items = 500, 2000
    chance = 1 / np.arange(1, items + 1)
    truth = rng.choice(items, rows, p=chance / chance.sum())
    target = np.zeros((rows, items), np.int8)
    target[np.arange(rows), truth] = 1
    scores = np.repeat(chance[None], rows, axis=0).astype(np.float32)
    honest = 1 - score_ranking(scores, target).error
    drawn = np.stack([np.append(rng.choice(items, 100, replace=False), item) for item in truth])
    among = np.zeros((rows, 101), np.int8)
    among[:, -1] = 1
    sampled = 1 - score_ranking(np.take_along_axis(scores, drawn, axis=1), among).error
    assert sampled > 2 * honest > 0
