"""The best outputs are chosen by this one rule, whoever asks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
