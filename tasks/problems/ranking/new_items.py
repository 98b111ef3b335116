"""An item that nobody had yet is scored by its attributes, as the items that are like it.

Scores are linear in items' vectors: kernel ridge regression from attributes to the vectors that a model has learned
from events is a fixed weighing of known items' scores, the same for all users. So a student that sees attributes alone
learns from a teacher that saw events (generalized distillation, Lopez-Paz et al. 2016, arXiv:1511.03643), in closed
form.
"""

import re
from collections import Counter

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.ranking.options import NewItems

Matrix = NDArray[np.float32]

BASIS = 4096
"""New items are told from as many of the most popular ones at most: the regression holds a matrix of their pairs."""
WORD = re.compile(r"\w+")


def weights(new: pl.DataFrame, known: pl.DataFrame, options: NewItems) -> Matrix:
    """Return (new, known) how much each known item's score counts for that of each new one."""
    alike = likeness(known, known, options) + options.regularisation * np.eye(len(known))
    found: Matrix = np.linalg.solve(alike, likeness(known, new, options)).T.astype(np.float32)
    return found


def likeness(these: pl.DataFrame, those: pl.DataFrame, options: NewItems) -> NDArray[np.float64]:
    """Return (these, those) the product over attributes of 1 and how alike both are by it, from 0 to 1.

    Words count that stand in several of these. So any attributes count that two items share, and more if they share
    several. What is missing, or no number, is like nothing.
    """
    found = np.ones((len(these), len(those)))
    for column in options.words:
        left, right = _bags(these[column], those[column])
        found *= 1 + left @ right.T
    for column, scale in options.numbers.items():
        left, right = (table[column].cast(pl.Float64, strict=False).to_numpy() for table in (these, those))
        found *= 1 + np.nan_to_num(np.exp(-0.5 * ((left[:, None] - right) / scale) ** 2))
    return found


def _bags(*columns: pl.Series) -> list[NDArray[np.float64]]:
    """Return (n, words) for each column, of length 1 by row, of the words that stand in several rows of the first."""
    said = [[set(WORD.findall((text or "").lower())) for text in column.to_list()] for column in columns]
    count = Counter(word for words in said[0] for word in words)
    place = {word: number for number, word in enumerate(word for word, times in sorted(count.items()) if times > 1)}
    found = []
    for rows in said:
        bag = np.zeros((len(rows), len(place)))
        for row, words in enumerate(rows):
            bag[row, [place[word] for word in words if word in place]] = 1
        found.append(bag / np.maximum(np.sqrt(bag.sum(axis=1, keepdims=True)), 1))
    return found
