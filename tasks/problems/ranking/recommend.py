"""This module names the best items for every user of a table."""

from datetime import date

import numpy as np
import polars as pl

from serving.contract import History
from serving.contract.choice import chosen
from tasks.core.errors import DataError
from tasks.problems.base import SCORING_BYTES, FeatureContract, Predict, rows_within
from tasks.problems.ranking.dataset import HISTORY
from tasks.problems.ranking.events import ITEM, USER, in_order
from tasks.problems.ranking.options import parse_options


def recommended(events: pl.LazyFrame, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
    """Return a line for each user and item that is named: the user, `rank` from 1, the item, `score`.

    Raises DataError when there is no event up to `as_of`.
    """
    options = parse_options(contract.settings["options"])
    found = in_order(events, options, as_of).group_by(USER, maintain_order=True).agg(ITEM)
    book = contract.histories[HISTORY]
    field = History(HISTORY, book, contract.inputs[HISTORY][1][0])
    items = np.array(book.values, dtype=object)
    parts = []
    size = rows_within(max(contract.row_bytes(), 4 * len(items)), SCORING_BYTES)
    for part in found.iter_slices(size):
        known = [field.known(history) for history in part[ITEM].to_list()]
        scores = model({HISTORY: field.encode(known)})
        scores = np.where([[not had] for had in known], np.float32(0), scores)  # codes are in the order of popularity
        for user, had, line in zip(part[USER], known, scores, strict=True):
            places = chosen(line, () if contract.repeats else [code - book.first for code in had], contract.choice)
            parts.append((user, items[places], line[places]))
    if not parts:
        raise DataError(f"events: no event up to {as_of}")
    return pl.DataFrame(
        {
            options.user: [user for user, named, _ in parts for _ in named],
            "rank": [place for _, named, _ in parts for place in range(1, len(named) + 1)],
            options.item: [item for _, named, _ in parts for item in named],
            "score": np.concatenate([scores for _, _, scores in parts]).astype(np.float32),
        },
        schema_overrides={options.user: pl.String, options.item: pl.String, "rank": pl.Int64},
    )
