"""This module decides how much each teacher counts in the ensemble."""

from collections.abc import Iterable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np

from tasks.problems.base import Dataset, Floats, Problem

SOFT = "soft.npy"
"""A teacher's folder has its labels of all rows under this name."""
FIRST_STEP, LAST_STEP = 0.25, 1 / 256
ROWS = 20_000


def saved_weights(
    problem: Problem, dataset: Dataset, folder: Path, names: Iterable[str], how: Literal["mean", "validation"]
) -> tuple[float, ...] | None:
    """Return `member_weights` of the teachers `names` by what they left in their folders below `folder`."""
    soft = {name: np.load(folder / name / SOFT, mmap_mode="r") for name in names}
    return member_weights(problem, dataset, soft, how)


def member_weights(
    problem: Problem, dataset: Dataset, soft: Mapping[str, Floats], how: Literal["mean", "validation"]
) -> tuple[float, ...] | None:
    """Return the weights of the teachers, in the order of `soft` (all rows, *output_shape); None: all count alike.

    `validation`: those, not negative and with sum 1, that minimise the error of the weighted ensemble on the
    validation rows (if they are very many, on about 20,000, spread evenly). A pattern search on the simplex: from
    equal weights, a share moves from one member to another as long as that helps, then a share half as large, from 1/4
    down to 1/256 (Lewis & Torczon 2000, for linear constraints). No chance and no derivative; for a convex error such
    as the WAPE or the log loss of few members it ends near the optimum. Errors of rankings are steps: if a member alone
    is better than what the search finds, it counts alone.
    """
    if how == "mean" or len(soft) == 1:
        return None
    valid = dataset.splits["valid"]
    valid = valid[:: -(-len(valid) // ROWS)]
    outputs, target = [values[valid] for values in soft.values()], dataset.target(valid)

    def error(weights: tuple[float, ...]) -> float:
        return problem.score(problem.ensemble(outputs, weights), target).error

    count = len(outputs)
    best = (1 / count,) * count
    least, step = error(best), FIRST_STEP
    while step >= LAST_STEP:
        pairs = [pair for pair in permutations(range(count), 2) if best[pair[0]] > 0]
        tried = [_moved(best, giver, taker, step) for giver, taker in pairs]
        found, weights = min((error(weights), weights) for weights in tried)
        if found < least:
            least, best = found, weights
        else:
            step /= 2
    alone = [tuple(float(place == member) for place in range(count)) for member in range(count)]
    return min([(least, best), *((error(weights), weights) for weights in alone)], key=lambda pair: pair[0])[1]


def _moved(weights: tuple[float, ...], giver: int, taker: int, step: float) -> tuple[float, ...]:
    """Move at most `step` from one to the other, never below zero."""
    share = min(step, weights[giver])
    result = np.array(weights)
    result[giver] -= share
    result[taker] += share
    return tuple(result.tolist())
