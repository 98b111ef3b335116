"""Paired comparison of two models on the same rows by a block bootstrap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Score

CHUNK = 100
"""Resamples drawn at once: bounds the memory to CHUNK x groups counts."""


@dataclass(frozen=True)
class Comparison:
    """Relative difference of errors, `candidate / champion - 1`, with its interval. Below 0 the candidate is better."""

    difference: float
    low: float
    high: float
    confidence: float
    resamples: int
    groups: int

    def __str__(self) -> str:
        interval = f"{self.confidence:.0%} interval {self.low:+.2%} to {self.high:+.2%}"
        return f"{self.difference:+.2%}, {interval}, {self.groups} groups"


def compare(
    candidate: Score, champion: Score, groups: NDArray[np.int64], *, confidence: float, resamples: int, seed: int
) -> Comparison:
    """Relative difference of two models' errors with a percentile bootstrap interval.

    Both scores are of the same rows, `groups` (rows,) says which entity a row belongs to. Whole groups are resampled,
    because rows of one entity are dependent, and the same draw serves both models, so that what is hard for both
    cancels out. Each resample's error is the ratio of sums `loss.sum() / weight.sum()`. Sources: Efron and Tibshirani,
    An Introduction to the Bootstrap (1993), chapters 8 and 13; Künsch (1989) for blocks.

    Raises ValueError with fewer than two groups: there is nothing to resample.
    """
    labels, index = np.unique(groups, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(f"a paired comparison needs at least 2 groups, there is {len(labels)}")
    # (groups, 4): sums by group
    sums = np.stack(
        [
            np.bincount(index, weights=part, minlength=len(labels))
            for part in (candidate.loss, candidate.weight, champion.loss, champion.weight)
        ],
        axis=1,
    )
    random = np.random.default_rng(seed)
    draws = np.concatenate(
        [
            random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=size) @ sums
            for size in _chunks(resamples)
        ]
    )
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(_relative(draws), [(1 - confidence) / 2, (1 + confidence) / 2])
    difference = _relative(sums.sum(axis=0, keepdims=True))[0]
    return Comparison(float(difference), float(low), float(high), confidence, resamples, len(labels))


def _relative(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: NDArray[np.float64] = (sums[:, 0] / sums[:, 1]) / (sums[:, 2] / sums[:, 3]) - 1
    return ratio


def _chunks(total: int) -> list[int]:
    return [min(CHUNK, total - start) for start in range(0, total, CHUNK)]
