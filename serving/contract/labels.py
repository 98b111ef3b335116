"""What a model of classes says is told here: a label, and how likely each is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Told:
    """Told is one row's answer: the likeliest label, and the chance of each, which sum to 1."""

    label: str
    chances: Mapping[str, float]


def chances_of(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax of logits (rows, classes)."""
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    chances: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return chances


def told(logits: NDArray[np.float32], classes: Sequence[str]) -> list[Told]:
    """Return the answers of (rows, classes) logits."""
    chances = chances_of(logits)
    best = chances.argmax(axis=1)
    return [
        Told(classes[place], dict(zip(classes, map(float, line), strict=True)))
        for place, line in zip(best, chances, strict=True)
    ]
