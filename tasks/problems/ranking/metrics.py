"""Metrics are over the whole catalogue: no item is left out but those that the user had."""

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Floats, Score
from tasks.problems.ranking.options import AT

PART = 2048


def ranks_of(output: Floats, target: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return (n,) how many items stand before the one that came; of equal scores it stands last.

    Infinite where it is not in the catalogue, NaN where a score is not finite: then nothing has a rank.
    """
    found = np.full(len(output), np.inf)
    for start in range(0, len(output), PART):
        part, truth = output[start : start + PART], target[start : start + PART]
        row, item = np.nonzero(truth == 1)
        before = (part[row] >= part[row, item][:, None]) & (truth[row] == 0)
        found[start + row] = before.sum(axis=1)
        found[start : start + PART][~np.isfinite(part).all(axis=1)] = np.nan
    return found


def best_of(output: Floats, target: NDArray[np.int8], count: int = AT) -> NDArray[np.int64]:
    """Return (n, count) the items of the best scores in order, without those that the user had; -1 where none is left.

    Of equal scores the item that stands first in the catalogue comes first.
    """
    found = np.full((len(output), count), -1, np.int64)
    for start in range(0, len(output), PART):
        part = np.where(target[start : start + PART] < 0, -np.inf, output[start : start + PART])
        chosen = np.argsort(-part, axis=1, kind="stable")[:, :count]
        found[start : start + len(part), : chosen.shape[1]] = np.where(
            np.isfinite(np.take_along_axis(part, chosen, axis=1)), chosen, -1
        )
    return found


def gains(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) NDCG at AT: with one right answer the ideal gain is 1. NaN stays NaN."""
    gain = np.where(ranks < AT, 1 / np.log2(np.minimum(ranks, AT) + 2), 0.0)
    return np.where(np.isnan(ranks), np.nan, gain)


def score_ranking(output: Floats, target: NDArray[np.int8]) -> Score:
    """Return the error 1 - NDCG; hit rate, mean reciprocal rank, and the share of the catalogue that is ever named."""
    ranks = ranks_of(output, target)
    known = not np.isnan(ranks).any()
    named = np.unique(best_of(output, target)) if known else np.empty(0)
    metrics = {
        f"hr_{AT}": float((ranks < AT).mean()) if known else np.nan,
        "mrr": float((1 / (ranks + 1)).mean()),
        "coverage": float((named >= 0).sum() / output.shape[1]) if known else np.nan,
    }
    return Score(1 - gains(ranks), np.ones(len(ranks)), metrics)


def normalised(scores: Floats) -> Floats:
    """Return (n, items) log shares: scores less the logarithm of the sum of their exponentials."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: Floats = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)
    return result
