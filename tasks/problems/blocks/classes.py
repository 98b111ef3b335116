"""Predictions of classes are measured and put together here. Outputs are logits (n, classes)."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract.labels import chances_of
from tasks.problems.base import Floats

Labels = NDArray[np.int64]
BINS = 15


def probabilities(logits: Floats) -> NDArray[np.float64]:
    """Return the softmax over the classes, (n, classes)."""
    return chances_of(logits)


def predicted_columns(chances: NDArray[np.float64], classes: Sequence[str]) -> list[pl.Series]:
    """Return what is told of each row: p_<class> of each class, and `predicted`, the likeliest."""
    return [
        *[pl.Series(f"p_{name}", chances[:, place]) for place, name in enumerate(classes)],
        pl.Series("predicted", np.array(classes)[chances.argmax(axis=1)]),
    ]


def macro_f1(predicted: Labels, target: Labels) -> float:
    """Return the mean F1 of the classes that occur in `target`."""
    scores = []
    for label in np.unique(target):
        hit = ((predicted == label) & (target == label)).sum()
        scores.append(2 * hit / ((predicted == label).sum() + (target == label).sum()))
    return float(np.mean(scores))


def roc_auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive row scores higher than a negative one, ties counting half (Mann-Whitney U)."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    count = int(positive.sum())
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(score) - count)))


def calibration_error(chances: NDArray[np.float64], number: NDArray[np.int64], weight: NDArray[np.float64]) -> float:
    """Return the expected calibration error: mean |share right - chance| of the likeliest class, in 15 equal bins.

    Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, arXiv:1706.04599. It is NaN where a chance is no number.
    """
    if not np.isfinite(chances).all():
        return float("nan")
    top = chances.max(axis=1)
    right = chances.argmax(axis=1) == number
    place = np.minimum((top * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(place, weight * (right - top), BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def mean_logits(outputs: list[Floats], weights: Sequence[float] | None = None) -> Floats:
    """Return the logits of the mean of several models' probabilities; `weights` sum to 1, None: equal ones."""
    chances = [probabilities(output) for output in outputs]
    mean: NDArray[np.float64] = np.mean(chances, axis=0) if weights is None else np.tensordot(weights, chances, axes=1)
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).astype(np.float32)
