"""An item that nobody had yet is scored by its attributes, as the items that are like it.

Scores are linear in items' vectors: kernel ridge regression from attributes to the vectors that a model has learned
from events is a fixed weighing of known items' scores, the same for all users. So a student that sees attributes alone
learns from a teacher that saw events (generalized distillation, Lopez-Paz et al. 2016, arXiv:1511.03643), in closed
form.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.ranking.options import NewItems

Matrix = NDArray[np.float32]
Made = TypeVar("Made")

BASIS = 4096
"""New items are told from as many of the most popular ones at most: the regression holds a matrix of their pairs."""
VOCABULARY = 4096
"""Of a column so many words count at most, those of the most items."""
BLOCK = 256
"""Of so many items the likeness to others is computed at once."""
ITEM_BYTES = 1024
"""A new item takes so much at least, however few are known."""
WORD = re.compile(r"\w+")


class Last(Generic[Made]):
    """A Last keeps what was made last, as the parts of a table, and requests of one caller, have the same items."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: tuple[tuple[pl.DataFrame, ...], NewItems, Made] | None = None

    def get(self, tables: tuple[pl.DataFrame, ...], options: NewItems, make: Callable[[], Made]) -> Made:
        """Return what `make` made of equal tables and options. What was kept goes first: memory may not hold both."""
        with self._lock:
            if self._kept is not None:
                before, other, made = self._kept
                if other == options and all(one.equals(two) for one, two in zip(before, tables, strict=True)):
                    return made
                del before, made
            self._kept = None
            made = make()
            self._kept = (tables, options, made)
            return made


_INVERSE: Last[Matrix] = Last()
_WEIGHTS: Last[Matrix] = Last()


def weights_bytes(known: int) -> int:
    """Return the bytes of a new item's weights by so many known ones."""
    return max(4 * min(known, BASIS), ITEM_BYTES)


def weights(new: pl.DataFrame, known: pl.DataFrame, options: NewItems) -> Matrix:
    """Return (new, known) how much each known item's score counts for that of each new one; 1 in all.

    Scores are logits, which have no zero: what is told is how far an item's score is from the mean of the known ones.
    """
    return _WEIGHTS.get((new, known), options, lambda: _weights(new, known, options))


def _weights(new: pl.DataFrame, known: pl.DataFrame, options: NewItems) -> Matrix:
    inverse = _INVERSE.get((known,), options, lambda: _inverse(known, options))
    found = np.empty((len(new), len(known)), np.float32)
    for rows, alike in _blocks(new, known, options):
        part = alike @ inverse
        found[rows] = part + (1 - part.sum(axis=1, keepdims=True)) / np.float32(len(known))
    return found


def _inverse(known: pl.DataFrame, options: NewItems) -> Matrix:
    alike = likeness(known, known, options).astype(np.float64)
    alike[np.diag_indices(len(known))] += options.regularisation
    invert(alike)
    return alike.astype(np.float32)


def invert(matrix: NDArray[np.float64]) -> None:
    """Invert a positive definite matrix in place by blocks (Gauss-Jordan); numpy would hold four copies of it."""
    for start in range(0, len(matrix), BLOCK):
        block = slice(start, start + BLOCK)
        inner, column = np.linalg.inv(matrix[block, block]), matrix[:, block].copy()
        row = inner @ matrix[block]
        row[:, block], column[block], matrix[:, block] = inner, 0, 0
        for first in range(0, len(matrix), BLOCK):
            matrix[first : first + BLOCK] -= column[first : first + BLOCK] @ row
        matrix[block] = row


def likeness(these: pl.DataFrame, those: pl.DataFrame, options: NewItems) -> Matrix:
    """Return (these, those) the product over attributes of 1 and how alike both are by it, from 0 to 1.

    Words count that stand in several of those. So any attributes count that two items share, and more if they share
    several. What is missing, or no number, is like nothing.
    """
    found = np.empty((len(these), len(those)), np.float32)
    for rows, alike in _blocks(these, those, options):
        found[rows] = alike
    return found


def _blocks(these: pl.DataFrame, those: pl.DataFrame, options: NewItems) -> Iterator[tuple[slice, Matrix]]:
    """Yield the likeness of some rows after the others, with their places."""
    places = {column: _vocabulary(those[column]) for column in options.words}
    bags = {column: _bags(those[column], place) for column, place in places.items()}
    for start in range(0, len(these), BLOCK):
        part = these[start : start + BLOCK]
        found = np.ones((len(part), len(those)), np.float32)
        for column, place in places.items():
            found *= 1 + _bags(part[column], place) @ bags[column].T
        for column, scale in options.numbers.items():
            left, right = (table[column].cast(pl.Float64, strict=False).to_numpy() for table in (part, those))
            with np.errstate(over="ignore", invalid="ignore"):
                found *= 1 + np.nan_to_num(np.exp(-0.5 * ((left[:, None] - right) / scale) ** 2)).astype(np.float32)
        yield slice(start, start + len(part)), found


def _words(text: str | None) -> set[str]:
    return set(WORD.findall((text or "").lower()))


def _vocabulary(column: pl.Series) -> dict[str, int]:
    """Return the places of the words that stand in several rows, those in the most rows first."""
    count = Counter(word for text in column for word in _words(text))
    several = sorted((-times, word) for word, times in count.items() if times > 1)
    return {word: number for number, (_, word) in enumerate(several[:VOCABULARY])}


def _bags(column: pl.Series, place: dict[str, int]) -> Matrix:
    """Return (n, words) of length 1 by row, of the words that have a place."""
    bag = np.zeros((len(column), len(place)), np.float32)
    for row, text in enumerate(column):
        bag[row, [place[word] for word in _words(text) if word in place]] = 1
    bag /= np.maximum(np.sqrt(bag.sum(axis=1, keepdims=True)), 1)
    return bag
