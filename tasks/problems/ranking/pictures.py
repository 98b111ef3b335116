"""Pictures for the report: histories with what was recommended and what came, and recall by popularity."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Example, Floats
from tasks.problems.ranking.metrics import best_of, ranks_of
from tasks.problems.ranking.options import AT

SHOWN, LAST = 5, 3
LETTERS = 9  # so many of each name find room below their bar
FIFTHS = 5


def of_histories(
    histories: NDArray[np.int64],
    target: NDArray[np.int8],
    outputs: Mapping[str, Floats],
    name: Callable[[int], str],
    count: int,
) -> list[Example]:
    """Return, for rows spread evenly, the last items of a history and the first model's chances of its best answers.

    What came is 1. `name`: what an item is called, by its place in the catalogue.
    """
    chosen = np.unique(np.linspace(0, len(target) - 1, count).astype(np.int64))
    best = best_of(next(iter(outputs.values()))[chosen], target[chosen], SHOWN)
    found = []
    for place, row in enumerate(chosen):
        truth = np.flatnonzero(target[row] == 1)
        shown = [int(item) for item in dict.fromkeys((*best[place], *truth)) if item >= 0]
        last = [name(int(code) - 1) for code in histories[row] if code][-LAST:]
        found.append(
            Example(
                title=f"after {', '.join(last) or 'nothing'}",
                dates=tuple(_short(name(item)) for item in shown),
                past=(),
                actual=tuple(float(item in truth) for item in shown),
                curves={model: _chances(output[row], target[row], shown) for model, output in outputs.items()},
            )
        )
    return found


def by_popularity(popularity: Floats, target: NDArray[np.int8], outputs: Mapping[str, Floats]) -> Example:
    """Return each model's hit rate by fifths of the events that came, from rare items to popular ones."""
    row, item = np.nonzero(target == 1)
    place = np.argsort(np.argsort(popularity[item], kind="stable"))
    fifth = place * FIFTHS // max(len(item), 1)
    count = np.bincount(fifth, minlength=FIFTHS)

    def rates(output: Floats) -> tuple[float, ...]:
        hit = ranks_of(output, target)[row] < AT
        return tuple(round(float(rate), 4) for rate in np.bincount(fifth, hit, FIFTHS) / np.maximum(count, 1))

    return Example(
        title=f"hit rate at {AT} by popularity of what came",
        dates=("rare", *("",) * (FIFTHS - 2), "popular"),
        past=(),
        actual=(),
        curves={model: rates(output) for model, output in outputs.items()},
    )


def _short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _chances(scores: Floats, target: NDArray[np.int8], items: list[int]) -> tuple[float, ...]:
    kept = np.where(target < 0, -np.inf, scores.astype(np.float64))
    shares = np.exp(kept - kept.max())
    return tuple(round(float(share), 6) for share in (shares / shares.sum())[items])
