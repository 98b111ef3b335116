"""Baselines are asked in parts, and score what they are chosen by once."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Rows
from tasks.problems.ranking.baselines import for_the_report, naive
from tasks.problems.ranking.closed_form import together
from tasks.problems.ranking.dataset import Histories
from tests.unit.problems.ranking.films import dataset


class Counting(Histories):
    """Histories that count what is asked of them."""

    def __init__(self, made: Histories) -> None:
        super().__init__(made.events, made.contract)
        self.asked_for: Counter[str] = Counter()

    def target(self, rows: Rows) -> NDArray[np.int8]:
        self.asked_for["targets"] += 1
        return super().target(rows)

    def sequences(self, rows: Rows) -> list[Any]:
        self.asked_for["sequences"] += 1
        return super().sequences(rows)


def test_the_naive_answer_of_parts_is_that_of_the_whole_and_is_chosen_once() -> None:
    made = Counting(dataset(split="leave-one-out"))
    rows = made.splits["test"]
    whole = naive(made, rows)
    parts = [naive(made, part) for part in np.array_split(rows, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert made.asked_for == {"targets": 1, "sequences": 1}
    np.testing.assert_array_equal(for_the_report(made, rows)["item-kNN"], whole)
    assert made.asked_for["sequences"] == 2, "pairs are counted for the neighbours, and for EASE"
    np.testing.assert_array_equal(made.pairs(), together(made.sequences(made.splits["train"]), made.size))
    assert "neighbours" in vars(made) and "pairs" not in vars(made), "what takes most is not kept"
