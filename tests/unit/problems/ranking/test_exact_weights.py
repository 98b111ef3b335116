"""Sums of weights are the same every time: the order of items, and so a release, depends on their last digits."""

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import Since
from tasks.problems.ranking.afterwards import popular_lists
from tasks.problems.ranking.closed_form import together
from tasks.problems.ranking.events import ITEM, LEARNED, WEIGHT, catalogue
from tests.unit.problems.ranking.films import AS_OF, problem

ITEMS, EACH = 50, 400
WEIGHTS = np.arange(1, 9) / 10


def drawn() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Events of items that all have the same weights, each in another order: their sums differ by last digits alone."""
    rng = np.random.default_rng(0)
    weights = np.concatenate([rng.permutation(np.tile(WEIGHTS, EACH // len(WEIGHTS))) for _ in range(ITEMS)])
    shuffled = rng.permutation(ITEMS * EACH)
    return np.repeat(np.arange(ITEMS), EACH)[shuffled], weights[shuffled]


def by_weight(items: NDArray[np.int64], weights: NDArray[np.float64]) -> list[str]:
    """Return the items by their sums of weights, added one after the other."""
    sums = np.zeros(ITEMS)
    np.add.at(sums, items, weights)
    assert len(np.unique(sums)) > 5, "sums in another order would give another order of items"
    return [f"f{item:02d}" for item in np.argsort(-sums, kind="stable")]


def test_the_catalogue_is_ordered_by_sums_in_the_order_of_rows() -> None:
    items, weights = drawn()
    events = pl.DataFrame({ITEM: [f"f{item:02d}" for item in items], WEIGHT: weights, LEARNED: True})
    options = problem(weight="paid").options
    for _ in range(3):
        assert list(catalogue(events, options)) == by_weight(items, weights)


def test_the_popular_lists_are_ordered_by_sums_in_the_order_of_rows() -> None:
    items, weights = drawn()
    events = pl.DataFrame(
        {
            "user": "u",
            "item": [f"f{item:02d}" for item in items],
            "time": AS_OF - timedelta(days=1),
            "clock": np.arange(len(items), dtype=np.float64),
            "paid": weights,
        }
    )
    options = problem(weight="paid", repeats=True).options
    for _ in range(3):
        lists = popular_lists(Since(AS_OF, AS_OF + timedelta(days=7), {"events": events.lazy()}, dict), options, ITEMS)
        assert lists["item"].to_list() == by_weight(items, weights)


def test_weights_of_an_item_that_came_again_are_added_up() -> None:
    codes, weights = np.array([1, 3, 1]), np.array([4.0, 9.0, 12.0], np.float32)
    assert together([codes], 3, weights=[weights]).tolist() == [[16, 0, 12], [0, 0, 0], [12, 0, 9]]
