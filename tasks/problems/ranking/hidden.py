"""Items that nobody had yet have no truth; this module hides known ones, and looks how well attributes tell of them."""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import Floats, Rows
from tasks.problems.ranking.dataset import Histories
from tasks.problems.ranking.events import ITEM
from tasks.problems.ranking.metrics import gains, ranks_of
from tasks.problems.ranking.new_items import BASIS, weights
from tasks.problems.ranking.options import AT

SHARE, MOST = 0.15, 2048
"""So large a share of the items is hidden, as many of them at most, the most popular ones."""
METRIC = f"new_items_ndcg_{AT}"


def is_hidden(items: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return (items,) which ones are hidden, by a hash of the item: the same ones every night and for every model."""
    drawn = [int.from_bytes(blake2b(f"hidden {item}".encode(), digest_size=8).digest()) for item in items]
    return np.array(drawn, dtype=np.float64) / 2.0**64 < SHARE


def of_hidden(dataset: Histories, rows: Rows, output: Floats) -> dict[str, float]:
    """Return METRIC: NDCG among the hidden items, of the rows to whom one of them came; nothing where there is none.

    A hidden item is scored as a new one is, by the model's scores of the others and by attributes; the model itself may
    have learned from its events.
    """
    options, names = dataset.options.new_items, dataset.contract.categories[ITEM]
    if options is None or dataset.attributes is None:
        return {}
    away = is_hidden(names)
    hidden, known = np.flatnonzero(away)[:MOST], np.flatnonzero(~away)[:BASIS]
    target = dataset.target(rows)[:, hidden]
    asked = np.flatnonzero((target == 1).any(axis=1))
    if not len(asked) or not len(known):
        return {}
    table = pl.DataFrame({ITEM: names}).join(dataset.attributes, ITEM, "left", maintain_order="left")
    weighing = weights(table[hidden], table[known], options)
    scores = output[np.ix_(asked, known)] @ weighing.T
    return {METRIC: float(gains(ranks_of(scores, target[asked])).mean())}
