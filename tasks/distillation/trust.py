"""This module decides how far a student may rely on its teacher: group by group, or row by row."""

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Dataset, Floats, Problem, Rows

ROWS_PER_GROUP = 16
CHUNK = 4096


def trust(dataset: Dataset, problem: Problem, soft: Floats) -> Floats:
    """Return (all rows,) min(1, naive error / teacher's error) of the row's group, such as its series.

    Both errors are the problem's own, summed over at most 16 training rows of the group, spread evenly; `soft` (all
    rows, *output_shape) is out-of-fold there, so a teacher is not trusted for what it has learned by heart. 1 where
    the teacher is no worse than the naive forecast. The soft loss of a row counts so much less, and the hard loss
    takes its place.
    """
    rows = _spread(dataset.splits["train"], dataset.groups)
    count = int(dataset.groups.max()) + 1
    naive, teacher, exponent = np.zeros(count), np.zeros(count), 1.0
    for part in dataset.parts(rows, most=CHUNK):
        groups, target = dataset.groups[part], dataset.target(part)
        naive += np.bincount(groups, problem.score(problem.naive(dataset, part), target).loss, count)
        score = problem.score(soft[part], target)
        teacher += np.bincount(groups, score.loss, count)
        exponent = score.exponent
    ratio = np.divide(naive, teacher, out=np.ones(count), where=teacher > 0) ** exponent
    result: Floats = np.minimum(ratio, 1).astype(np.float32)[dataset.groups]
    return result


def correctness(dataset: Dataset, problem: Problem, soft: Floats) -> Floats:
    """Return (all rows,) min(1, naive loss / teacher's loss) of each training row, by the problem's own error.

    1 for a row that nothing is known of, whose losses are 0, and for rows of other splits, which nobody learns from.
    """
    result: Floats = np.ones(len(dataset.groups), np.float32)
    for part in dataset.parts(dataset.splits["train"], most=CHUNK):
        target = dataset.target(part)
        naive = problem.score(problem.naive(dataset, part), target).loss
        teacher = problem.score(soft[part], target).loss
        result[part] = np.minimum(np.divide(naive, teacher, out=np.ones(len(part)), where=teacher > 0), 1)
    return result


def _spread(rows: Rows, groups: NDArray[np.int64]) -> Rows:
    """Return at most `ROWS_PER_GROUP` rows of each group, evenly over their order."""
    ordered = rows[np.argsort(groups[rows], kind="stable")]
    _, first, count = np.unique(groups[ordered], return_index=True, return_counts=True)
    place = np.arange(len(ordered)) - np.repeat(first, count)
    share = np.maximum(np.repeat(count, count) / ROWS_PER_GROUP, 1)
    chosen: Rows = ordered[np.floor(place / share) != np.floor((place - 1) / share)]
    return chosen
