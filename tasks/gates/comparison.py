"""This module compares two models on the same rows, paired, by a bootstrap over entities and blocks of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tasks.problems.base import Clusters, Score

Sums = NDArray[np.float64]

DRAWN_AT_ONCE = 3_000_000
"""One step draws so many entities, over all its resamples: this bounds the memory."""


@dataclass(frozen=True)
class Comparison:
    """A Comparison holds the relative difference of errors, `candidate / champion - 1`, with its interval.

    Below 0 the candidate is better. `groups`: entities, `blocks`: blocks of time that were resampled.
    """

    difference: float
    low: float
    high: float
    confidence: float
    resamples: int
    groups: int
    blocks: int

    def __str__(self) -> str:
        interval = f"{self.confidence:.0%} interval {self.low:+.2%} to {self.high:+.2%}"
        blocks = f" x {self.blocks} blocks of time" if self.blocks > 1 else ""
        return f"{self.difference:+.2%}, {interval}, {self.groups} groups{blocks}"


def compare(
    candidate: Score, champion: Score, clusters: Clusters, *, confidence: float, resamples: int, seed: int
) -> Comparison:
    """Return the relative difference of two models' errors with a two-way bootstrap interval.

    Both scores are of the same rows. Rows of one entity are dependent, and so are rows of one time, since a holiday
    hits all: entities and blocks of time are resampled independently of each other and a cell counts as often as both
    were drawn (the pigeonhole bootstrap of crossed factors: Owen, Annals of Applied Statistics 1, 2007; blocks: Künsch,
    Annals of Statistics 17, 1989). The same draw serves both models, so that what is hard for both cancels out. An
    error is a ratio of sums, in each resample too.

    Percentiles of few clusters are too narrow, so they are stretched about the difference by sqrt(n / (n - 1)) and by
    the ratio of Student's t to the normal quantile (Hesterberg, The American Statistician 69, 2015), with the degrees
    of freedom of a sum of two variances (Satterthwaite, Biometrics Bulletin 2, 1946). n is the number of equally large
    clusters that would scatter as much as these: 1 / sum of squared shares of the champion's loss, at least 2.

    With one block of time, or one entity, the other alone is resampled. Raises ValueError with one of each: there is
    nothing to resample.
    """
    sums = _cells(candidate, champion, clusters)
    groups, blocks = sums.shape[:2]
    if max(groups, blocks) < 2:
        raise ValueError("a paired comparison needs at least 2 groups or blocks of time")
    draws = [_resample(sums, size, random) for size, random in _chunks(resamples, groups, seed)]
    power = candidate.exponent
    both, over_groups, over_blocks = (_ratio(np.concatenate(part)) ** power for part in zip(*draws, strict=True))
    middle = float(_ratio(sums.sum(axis=(0, 1))[None])[0]) ** power
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    loss = sums[:, :, 2]
    if not np.isfinite(both).all():  # an error of zero, or one that is no number
        return Comparison(middle - 1, np.nan, np.nan, confidence, resamples, groups, blocks)
    stretch = _stretch(
        [(float(part.var()), _effective(loss.sum(axis=axis))) for part, axis in ((over_groups, 1), (over_blocks, 0))],
        tails[1],
    )
    low, high = middle + stretch * (np.quantile(both, tails) - middle)
    return Comparison(middle - 1, float(low) - 1, float(high) - 1, confidence, resamples, groups, blocks)


def _cells(candidate: Score, champion: Score, clusters: Clusters) -> Sums:
    """Return (groups, blocks, 4) sums of each entity in each block: loss and weight of candidate, then of champion.

    Without losses by step all times count as one.
    """
    labels, entity = np.unique(clusters.entities, return_inverse=True)
    parts = [candidate.loss, candidate.weight, champion.loss, champion.weight]
    place, blocks = entity, 1
    if candidate.steps is not None and champion.steps is not None:
        times = np.broadcast_to(clusters.times, candidate.steps.shape[1:])
        known, time = np.unique(times, return_inverse=True)
        blocks = len(known)
        place = (entity[:, None] * blocks + time.reshape(times.shape)).ravel()
        parts = [part.ravel() for part in (*candidate.steps, *champion.steps)]
    size = len(labels) * blocks
    # numpy's stub says integers, though a sum of weights is float64.
    sums: NDArray[Any] = np.stack([np.bincount(place, part, size) for part in parts], axis=1)
    return sums.reshape(len(labels), blocks, 4)


def _resample(sums: Sums, size: int, random: np.random.Generator) -> tuple[Sums, Sums, Sums]:
    """Draw (size, 4) sums of as many resamples: of both factors, of entities alone, of blocks of time alone."""
    groups, blocks = sums.shape[:2]
    times = _counts(size, blocks, random)
    drawn = (_counts(size, groups, random) @ sums.reshape(groups, -1)).reshape(size, blocks, 4)
    return np.einsum("rt,rtk->rk", times, drawn), drawn.sum(axis=1), times @ sums.sum(axis=0)


def _counts(size: int, clusters: int, random: np.random.Generator) -> Sums:
    """Return (size, clusters): how often each cluster is drawn in each of `size` draws with replacement."""
    drawn = random.integers(clusters, size=(size, clusters)) + clusters * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)


def _ratio(sums: Sums) -> Sums:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Sums = (sums[:, 0] / sums[:, 1]) / (sums[:, 2] / sums[:, 3])
    return ratio


def _effective(loss: Sums) -> float:
    """Return the number of equally large clusters that would scatter as much."""
    total = float(loss.sum())
    return max(2.0, total**2 / float((loss**2).sum())) if total > 0 else 2.0


def _stretch(parts: list[tuple[float, float]], level: float) -> float:
    """Return how much wider than its percentiles the interval must be.

    `parts`: variance over a factor's draws, its clusters. A factor of one cluster has no variance and no say.
    """
    plain = sum(variance for variance, _ in parts)
    if not plain > 0:
        return 1.0
    corrected = [(variance * count / (count - 1), count - 1) for variance, count in parts]
    total = sum(variance for variance, _ in corrected)
    freedom = total**2 / sum(variance**2 / degrees for variance, degrees in corrected)
    return float(np.sqrt(total / plain) * special.stdtrit(freedom, level) / special.ndtri(level))


def _chunks(total: int, groups: int, seed: int) -> Iterator[tuple[int, np.random.Generator]]:
    size, random = max(1, min(total, DRAWN_AT_ONCE // groups)), np.random.default_rng(seed)
    for start in range(0, total, size):
        yield min(size, total - start), random
