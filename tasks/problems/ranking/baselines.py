"""Baselines need no training: what is popular, lately or always, and what others had beside a user's items."""

from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

import numpy as np

from tasks.problems.base import Floats, Rows
from tasks.problems.ranking.closed_form import DENSE, Matrix, decay, ease, profile
from tasks.problems.ranking.dataset import HISTORY, Histories
from tasks.problems.ranking.metrics import score_ranking

DAYS = 7
HALF_LIFE = 4.0
REGULARISATION = 300.0
PART = 4096

Answer = Callable[[Rows], Floats]


def simple(dataset: Histories) -> Mapping[str, Answer]:
    """Return the baselines of which the best is the one to beat: name -> scores (n, items) of rows."""
    popularity = np.log1p(dataset.popularity)

    def of_all_time(rows: Rows) -> Floats:
        return np.repeat(popularity[None], len(rows), axis=0)

    def lately(rows: Rows) -> Floats:
        """Where nothing tells two items apart lately, all time does."""
        recent: Floats = np.log1p(dataset.popularity_before(rows, DAYS)) + np.float32(1e-3) * popularity
        return recent

    found: dict[str, Answer] = {"popularity": of_all_time, f"popularity, {DAYS} days": lately}
    if dataset.size <= DENSE:
        found["item-kNN"] = _closed(dataset, dataset.neighbours, 0.0)
    return found


_BEST: WeakKeyDictionary[Histories, str] = WeakKeyDictionary()
"""Whoever asks for the naive answers of a dataset's rows in parts has its validation rows scored once."""


def naive(dataset: Histories, rows: Rows) -> Floats:
    """Return the scores of the simple baseline whose error on the validation rows is the least."""
    offered = simple(dataset)
    if dataset not in _BEST:
        valid = dataset.splits["valid"]
        target = dataset.target(valid)
        _BEST[dataset] = min(offered, key=lambda name: score_ranking(offered[name](valid), target).error)
    return offered[_BEST[dataset]](rows)


def for_the_report(dataset: Histories, rows: Rows) -> Mapping[str, Floats]:
    """Return the scores of all baselines: the simple ones, and EASE on a history that decays."""
    found = {name: answer(rows) for name, answer in simple(dataset).items()}
    if dataset.size <= DENSE:
        found["EASE, decayed"] = _closed(dataset, ease(dataset.pairs(), REGULARISATION), HALF_LIFE)(rows)
    return found


def _closed(dataset: Histories, product: Matrix, half_life: float) -> Answer:
    """Return the answer of a product of items with a history; without a half-life all its places count alike."""
    length = dataset.contract.inputs[HISTORY][1][0]
    weights = decay(length, half_life) if half_life else np.ones(length, np.float32)

    def scores(rows: Rows) -> Floats:
        found = np.empty((len(rows), dataset.size), np.float32)
        for start in range(0, len(rows), PART):
            part = rows[start : start + PART]
            found[start : start + len(part)] = profile(dataset.inputs(part)[HISTORY], weights, dataset.size) @ product
        return found

    return scores
