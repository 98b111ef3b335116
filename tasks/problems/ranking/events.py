"""This module puts a table of events in order, and says which of them each split asks for."""

from datetime import date, timedelta
from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.ranking.options import Options
from tasks.tables.table import Tables

EVENTS, ITEMS, USERS = "events", "items", "users"
"""The raw tables have these names."""
USER, ITEM, DAY, SPLIT, LEARNED, WEIGHT = "_user", "_item", "_day", "_split", "_learned", "_weight"
OF = "_of_"
"""A user's attributes stand beside each of their events, in columns that begin so."""
UNKNOWN = "unknown"
SEPARATOR = "\x1f"
TIE = "_tie"
LEAST = 3  # events of a user of whom the last one is asked, the one before it validated, and one is learned from


def in_order(table: pl.LazyFrame, options: Options, as_of: date) -> pl.DataFrame:
    """Return USER, ITEM, DAY of the events up to `as_of`, each user's together, the earliest first.

    With a column of weights there is WEIGHT, too.
    Of an item that a user had several times the first event counts, unless there are `repeats`. Raises DataError when
    there is no event.
    """
    given = table.filter(pl.col(options.time) <= as_of)
    if options.rating is not None and options.least_rating is not None:
        given = given.filter(pl.col(options.rating) >= options.least_rating)
    order = pl.col(options.order).cast(pl.Float64) if options.order else pl.lit(0.0)
    weight = [pl.col(options.weight).cast(pl.Float64).alias(WEIGHT)] if options.weight else []
    found = given.select(
        pl.col(options.user).alias(USER), pl.col(options.item).alias(ITEM), pl.col(options.time).alias(DAY),
        order.alias("_order"), *weight,
    ).collect(engine="streaming")  # fmt: skip
    if found.is_empty():
        raise DataError(f"{EVENTS}: no event up to {as_of}")
    ties = [tie(user, item) for user, item in found.select(USER, ITEM).iter_rows()]
    found = found.with_columns(pl.Series(TIE, ties, pl.UInt64)).sort(USER, DAY, "_order", TIE)
    if not options.repeats:
        found = found.unique([USER, ITEM], keep="first", maintain_order=True)
    return found.drop("_order", TIE)


def with_attributes(events: pl.DataFrame, tables: Tables, options: Options) -> pl.DataFrame:
    """Return the events with the attributes of their users, UNKNOWN where the table of users does not tell.

    Raises DataError when there is no such table.
    """
    if not options.users:
        return events
    if USERS not in tables:
        raise DataError(f"{USERS}: this table is missing; problem.users names columns of it: deliver it or drop them")
    return events.join(attributes(tables[USERS], options), USER, "left", maintain_order="left").with_columns(
        pl.col(f"{OF}{name}").fill_null(UNKNOWN) for name in options.users
    )


def attributes(users: pl.LazyFrame, options: Options) -> pl.DataFrame:
    """Return USER and the attributes of each user, as texts."""
    columns = [pl.col(name).cast(pl.String).alias(f"{OF}{name}") for name in options.users]
    return users.select(pl.col(options.user).alias(USER), *columns).collect(engine="streaming")


def dealt(events: pl.DataFrame, options: Options, as_of: date) -> pl.DataFrame:
    """Return the events with SPLIT (null: not asked) and LEARNED, whether models may know the event.

    Raises DataError naming a split that has no row.
    """
    place = pl.int_range(pl.len()).over(USER)
    if options.split == "leave-one-out":
        left = pl.len().over(USER) - 1 - place
        enough = pl.len().over(USER) >= LEAST
        test, valid, learned = enough & (left == 0), enough & (left == 1), ~enough | (left > 1)
    else:
        last = pl.lit(as_of - timedelta(days=options.days))
        before = pl.lit(as_of - timedelta(days=2 * options.days))
        test, learned = pl.col(DAY) > last, pl.col(DAY) <= before
        valid = ~test & ~learned
    events = events.with_columns(learned.alias(LEARNED))
    # How many learned events of the user still come: the last ones are the training rows.
    behind = pl.col(LEARNED).cast(pl.Int64).sum().over(USER) - pl.col(LEARNED).cast(pl.Int64).cum_sum().over(USER)
    train = pl.col(LEARNED) & (place > 0) & (behind < options.rows_per_user)
    split = pl.when(test).then(pl.lit("test")).when(valid).then(pl.lit("valid")).when(train).then(pl.lit("train"))
    events = events.with_columns(split.otherwise(None).alias(SPLIT))
    for name in ("train", "valid", "test"):
        if not (events[SPLIT] == name).any():
            how = f"among {len(events)} events split by {options.split}"
            raise DataError(f"{EVENTS}: no {name} row {how}; deliver more")
    return events


def catalogue(events: pl.DataFrame, options: Options) -> tuple[str, ...]:
    """Return the ids of the items that can be an answer, those with the most events that models may know first.

    So the order of codes answers whoever has no history. Events count by their weight, where they have some.
    """
    items, number = numbered_items(events)
    learned = weighed_counts(events, number, events[LEARNED].to_numpy())
    order = np.argsort(-learned, kind="stable")
    return tuple(items.gather(order[np.bincount(number)[order] >= options.least_events]).to_list())


def numbered_items(events: pl.DataFrame) -> tuple[pl.Series, NDArray[np.int64]]:
    """Return the items by their ids, and (events,) the place of each event's item among them."""
    number = events[ITEM].rank("dense").to_numpy().astype(np.int64) - 1
    return events[ITEM].unique().sort(), number


def weighed_counts(events: pl.DataFrame, number: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (items,) how many of the chosen events have each item, by their weight where they have some.

    Weights are added in the order of rows by one thread: the last digits of a sum depend on the order, and the order
    of items on those.
    """
    weight = events[WEIGHT].to_numpy() if WEIGHT in events.columns else np.ones(len(events))
    found: NDArray[np.float64] = np.bincount(number, weight * chosen).astype(np.float64)
    return found


def tie(user: str, item: str) -> int:
    """Return a number that orders events of one moment: ids are given in an order that tells what was listed when."""
    return int.from_bytes(blake2b(f"{user}{SEPARATOR}{item}".encode(), digest_size=8).digest())
