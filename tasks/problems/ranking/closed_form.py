"""Similarities of items have a closed form: what users had together, and what remains of it given all the others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Matrix = NDArray[np.float32]

DENSE = 12_000
"""A matrix of so many items by as many is the largest that is made: 0.6 GB, and 6 GB while it is computed.

An inverse in float64 holds five such matrices at once, 41 bytes a pair of items as measured, so that it fits in 8 GiB.
"""
NEIGHBOURS = 100
SHRINKAGE = 10.0


def together(
    sequences: Sequence[Codes], size: int, nearness: float | None = None, weights: Sequence[Matrix] | None = None
) -> NDArray[np.float64]:
    """Return (items, items) how many users had both; on the diagonal, how many had the item. Codes are from 1.

    `weights` of the events: both count by the root of the product of theirs, so that on the diagonal stands their sum.
    Those of an item that came again are added up first.
    `nearness`: a user counts half for every so many places that lie between both: what is had one after the other
    belongs together more than what is had a year apart.
    """
    if nearness is not None:
        return _near(sequences, size, nearness, weights)
    had = np.zeros((len(sequences), size), np.float32)
    for line, sequence in enumerate(sequences):
        if weights is None:
            had[line, sequence - 1] = 1
        else:
            np.add.at(had[line], sequence - 1, weights[line])
    if weights is not None:
        np.sqrt(had, out=had)
    result: NDArray[np.float64] = (had.T @ had).astype(np.float64)
    return result


def _near(
    sequences: Sequence[Codes], size: int, nearness: float, given: Sequence[Matrix] | None
) -> NDArray[np.float64]:
    found = np.zeros((size, size))
    for line, sequence in enumerate(sequences):
        places = np.arange(len(sequence))
        weights = 0.5 ** (np.abs(places[:, None] - places) / nearness)
        if given is not None:
            root = np.sqrt(given[line])
            weights *= np.outer(root, root)
        if len(np.unique(sequence)) < len(sequence):  # an item that came again
            np.add.at(found, (sequence[:, None] - 1, sequence - 1), weights)
        else:
            found[np.ix_(sequence - 1, sequence - 1)] += weights
    return found


def item_knn(counts: NDArray[np.float64]) -> Matrix:
    """Return (items, items) cosine similarities of the nearest neighbours of each item (Deshpande & Karypis 2004).

    Few common users say little, so counts are drawn towards zero by `SHRINKAGE` of them.
    """
    own = np.diag(counts)
    scale = np.sqrt(np.outer(own, own)) + SHRINKAGE
    found = np.divide(counts, scale)
    np.fill_diagonal(found, 0)
    if len(found) > NEIGHBOURS:
        least = np.partition(found, -NEIGHBOURS, axis=0)[-NEIGHBOURS]
        found[found < least] = 0
    return found.astype(np.float32)


def ease(counts: NDArray[np.float64], regularisation: float) -> Matrix:
    """Return (items, items) the weights by which an item's events are told from those of all others: EASE.

    Least squares with a zero diagonal (Steck 2019, arXiv:1905.03375). An item without an event has no weights.
    """
    inverse = np.linalg.inv(counts + regularisation * np.eye(len(counts)))
    found = -inverse / np.diag(inverse)
    np.fill_diagonal(found, 0)
    return found.astype(np.float32)


def decay(length: int, half_life: float) -> Matrix:
    """Return (length,) weights of a history's places, the last one's 1, halved every `half_life` places before it."""
    return (0.5 ** (np.arange(length)[::-1] / half_life)).astype(np.float32)


def profile(history: Codes, weights: Matrix, size: int) -> Matrix:
    """Return (n, items) the sum of the weights of the places where each item stands in a history (n, length)."""
    found = np.zeros((len(history), size + 1), np.float32)
    np.add.at(found, (np.arange(len(history))[:, None], history), weights)
    return found[:, 1:]
