"""Pictures of labels for the report: what is taken for what, calibration, and the worst mistakes with their text."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Example, Floats
from tasks.problems.blocks.classes import Labels, probabilities

Numbers = NDArray[np.float64]

BARS, SHOWN, TENTHS, LETTERS, CHARACTERS = 12, 4, 10, 9, 160


def pictures(
    texts: Sequence[str], target: Labels, outputs: Mapping[str, Floats], names: Sequence[str], count: int
) -> list[Example]:
    """Return recall by class and calibration of all models, then the surest mistakes of the first one."""
    chances = {name: probabilities(output) for name, output in outputs.items()}
    first = next(iter(chances.values()))
    predicted = first.argmax(axis=1)
    found = [_recall(target, chances, names), _calibration(target, first, next(iter(chances)))]
    found += _confused(target, chances, names)
    wrong = np.flatnonzero(predicted != target)
    surest = wrong[np.argsort(-first[wrong].max(axis=1), kind="stable")]
    for row in surest[: max(0, count - len(found))]:
        best = [int(place) for place in np.argsort(-first[row], kind="stable")[:SHOWN]]
        shown = list(dict.fromkeys((*best, int(target[row]))))
        text = texts[row] if len(texts[row]) <= CHARACTERS else texts[row][: CHARACTERS - 1] + "…"
        found.append(
            Example(
                title=f"“{text}”: {names[target[row]]}, taken for {names[predicted[row]]}",
                dates=tuple(_short(names[place]) for place in shown),
                past=(),
                actual=tuple(float(place == target[row]) for place in shown),
                curves={name: _rounded(values[row, shown]) for name, values in chances.items()},
            )
        )
    return found


def _recall(target: Labels, chances: Mapping[str, Numbers], names: Sequence[str]) -> Example:
    """Return the share of each class's rows that is told right, of the classes that the first model knows worst."""
    count = np.bincount(target, minlength=len(names))
    right = {
        name: np.bincount(target, values.argmax(axis=1) == target, len(names)) / np.maximum(count, 1)
        for name, values in chances.items()
    }
    occurring = np.flatnonzero(count)
    worst = occurring[np.argsort(next(iter(right.values()))[occurring], kind="stable")][:BARS]
    return Example(
        title="share of each class that is told right, the worst classes first",
        dates=tuple(_short(names[place]) for place in worst),
        past=(),
        actual=(),
        curves={name: _rounded(values[worst]) for name, values in right.items()},
    )


def _confused(target: Labels, chances: Mapping[str, Numbers], names: Sequence[str]) -> list[Example]:
    """Return how often each model takes one class for another, of the pairs that the first one confuses most.

    Of many classes that is what a matrix of all pairs shows: nearly all its cells are empty.
    """
    pairs = {
        name: np.where(values.argmax(axis=1) == target, -1, target * len(names) + values.argmax(axis=1))
        for name, values in chances.items()
    }
    found, count = np.unique(next(iter(pairs.values())), return_counts=True)
    found, count = found[found >= 0], count[found >= 0]
    most = found[np.argsort(-count, kind="stable")][:SHOWN]
    if not len(most):
        return []
    told = "; ".join(f"{names[pair // len(names)]} taken for {names[pair % len(names)]}" for pair in most)
    return [
        Example(
            title=f"rows of the most frequent mistakes: {told}",
            dates=tuple(_short(names[pair // len(names)]) for pair in most),
            past=(),
            actual=(),
            curves={name: tuple(float((values == pair).sum()) for pair in most) for name, values in pairs.items()},
        )
    ]


def _calibration(target: Labels, first: Numbers, name: str) -> Example:
    top = first.max(axis=1)
    place = np.minimum((top * TENTHS).astype(np.int64), TENTHS - 1)
    there = np.unique(place)
    count = np.bincount(place, minlength=TENTHS)[there]
    right = np.bincount(place, first.argmax(axis=1) == target, TENTHS)[there] / count
    return Example(
        title="share told right by the chance that the likeliest class was given",
        dates=tuple(f"{10 * step}%" for step in there),
        past=(),
        actual=_rounded(right),
        curves={name: _rounded(np.bincount(place, top, TENTHS)[there] / count)},
    )


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _rounded(values: Numbers) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
