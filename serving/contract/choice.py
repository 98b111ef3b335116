"""What may be asked, and which outputs are the best, is told by these rules alone, whoever asks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract.errors import InputError


def require_count(count: Any, most: int | None = None) -> None:
    """Require how many are asked for to be a whole number from 1. Raises InputError of `k`."""
    if type(count) is not int or count < 1 or (most is not None and count > most):
        wanted = "of 1 or more" if most is None else f"from 1 to {most}"
        raise InputError("k", f"{_said(count)}; expected a whole number {wanted}")


def raw_ids(row: int, history: Any) -> list[str]:
    """Return a history's ids as texts, as the tables have them, of texts and whole numbers. Raises InputError."""
    try:
        ids = None if isinstance(history, str | bytes | Mapping) else list(history)
    except TypeError:
        ids = None
    if ids is None:
        raise InputError("histories", f"number {row} is {_said(history)}; expected a list of ids")
    for place, item in enumerate(ids):
        if not isinstance(item, str | int | np.integer) or isinstance(item, bool):
            raise InputError("histories", f"{_said(item)} at [{row}, {place}]; expected the id of an item")
    return [str(item) for item in ids]


def _said(value: Any) -> str:
    """Return a value in few characters; of what has parts, as deep as they may be, its type alone."""
    return f"{value!r:.40}" if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def chosen(scores: NDArray[np.float32], without: Sequence[int], count: int) -> NDArray[np.int64]:
    """Return the places of the `count` best of (outputs,) scores in order, but those in `without`.

    Fewer where fewer are left. Of equal scores the first place comes first, as ONNX's TopK has it.
    """
    left = scores.copy()
    left[list(without)] = -np.inf
    count = min(count, int(np.count_nonzero(left > -np.inf)))
    if 0 < count < len(left):
        least = np.partition(left, len(left) - count)[len(left) - count]
        candidates = np.flatnonzero(left >= least)
    else:
        candidates = np.arange(len(left))
    order = candidates[np.argsort(-left[candidates], kind="stable")]
    result: NDArray[np.int64] = order[:count].astype(np.int64)
    return result
