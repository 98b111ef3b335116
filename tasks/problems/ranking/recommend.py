"""This module names the best items for every user of a table."""

from datetime import date

import numpy as np
import polars as pl

from serving.contract import History
from serving.contract.choice import chosen
from tasks.core.errors import DataError, RuleError
from tasks.problems.base import SCORING_BYTES, FeatureContract, Predict, rows_within
from tasks.problems.ranking.dataset import HISTORY
from tasks.problems.ranking.events import EVENTS, ITEM, ITEMS, USER, in_order
from tasks.problems.ranking.new_items import BASIS, Matrix, weights, weights_bytes
from tasks.problems.ranking.options import Options, parse_options
from tasks.tables.table import Tables

NIGHT_BYTES = 2**31
"""The weights of new items are as large at most where a table is scored: 130,000 new items of a large catalogue."""


def recommended(tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
    """Return a line for each user and item that is named: the user, `rank` from 1, the item, `score`.

    Items that nobody had yet come after those of the catalogue, and are scored by what is known of their likes.

    Raises DataError when there is no event up to `as_of`.
    """
    options = parse_options(contract.settings["options"])
    found = in_order(tables[EVENTS], options, as_of).group_by(USER, maintain_order=True).agg(ITEM)
    book = contract.histories[HISTORY]
    field = History(HISTORY, book, contract.inputs[HISTORY][1][0])
    fresh, weighing = _new_items(tables, contract, options)
    items = np.array([*book.values, *fresh], dtype=object)
    parts = []
    size = rows_within(max(contract.row_bytes(), 4 * len(items)), SCORING_BYTES)
    for part in found.iter_slices(size):
        known = [field.known(history) for history in part[ITEM].to_list()]
        scores = model({HISTORY: field.encode(known)})
        if fresh:
            scores = np.hstack([scores, scores[:, : weighing.shape[1]] @ weighing.T])
        scores = np.where([[not had] for had in known], np.float32(0), scores)  # codes are in the order of popularity
        for user, history, had, line in zip(part[USER], part[ITEM], known, scores, strict=True):
            seen = [code - book.first for code in had]
            seen += [len(book.values) + fresh[item] for item in history if item in fresh]
            places = chosen(line, () if contract.repeats else seen, contract.choice)
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


def require_fewer(tables: Tables, contract: FeatureContract, most: int) -> None:
    """Raise RuleError when the weights of the new items in the tables would be larger than `most` bytes."""
    options = parse_options(contract.settings["options"])
    if options.new_items is None or ITEMS not in tables:
        return
    book = contract.categories[ITEM]
    unknown = tables[ITEMS].filter(~pl.col(options.item).is_in(book))
    new = int(unknown.select(pl.len()).collect(engine="streaming").item())
    limit = most // weights_bytes(len(book))
    if new > limit:
        rule = f"new items <= {limit:,}"
        column = f"{ITEMS}.{options.item}"
        said = f"{column}: {new:,} items are new to the release; at most {limit:,} are scored at once"
        raise RuleError(f"{said}, send them in parts", column, rule)


def _new_items(tables: Tables, contract: FeatureContract, options: Options) -> tuple[dict[str, int], Matrix]:
    """Return the places of items that the catalogue lacks, and (new, known) how much known items' scores count.

    Raises DataError when the table tells nothing of the known items, RuleError when there are too many new ones.
    """
    if options.new_items is None or ITEMS not in tables:
        return {}, np.zeros((0, 0), np.float32)
    require_fewer(tables, contract, NIGHT_BYTES)
    attributes = (*options.new_items.words, *options.new_items.numbers)
    table = tables[ITEMS].select(pl.col(options.item).alias(ITEM), *attributes).collect(engine="streaming")
    known = pl.DataFrame({ITEM: contract.categories[ITEM][:BASIS]}).join(table, ITEM, "left", maintain_order="left")
    new = table.filter(~pl.col(ITEM).is_in(contract.categories[ITEM])).sort(ITEM)
    if new.is_empty():
        return {}, np.zeros((0, 0), np.float32)
    if known.select(pl.all_horizontal(pl.col(attributes).is_null().all())).item():
        named = ", ".join(attributes)
        raise DataError(
            f"{ITEMS}: {named}: empty for all items that the release knows, so nothing is like a new one; give the "
            "known items' rows, too"
        )
    return {item: number for number, item in enumerate(new[ITEM])}, weights(new, known, options.new_items)
