"""Events can be valid one by one and wrong together: this module measures what only all of them tell."""

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl

from tasks.problems.base import Finding
from tasks.problems.ranking.events import EVENTS, ITEMS, USERS
from tasks.problems.ranking.options import Options
from tasks.tables.table import Tables

DAYS = 7
LEAST = 50
"""Of fewer events a share says nothing."""


def findings(tables: Tables, options: Options, as_of: date) -> Iterator[Finding]:
    """Yield shares of the last days' events: of unknown ids, of items never seen before, and what one item gained."""
    day = pl.col(options.time)
    since = as_of - timedelta(days=DAYS)
    events = (
        tables[EVENTS].filter(day <= as_of).select(options.user, options.item, options.time).collect(engine="streaming")
    )
    recent, before = events.filter(day > since), events.filter(day <= since)
    if recent.height < LEAST or before.height < LEAST:
        return
    counts = recent.group_by(options.item).agg(now=pl.len() / recent.height)
    then = before.group_by(options.item).agg(then=pl.len() / before.height)
    both = counts.join(then, on=options.item, how="left").sort(pl.col("now") - pl.col("then").fill_null(0))
    new = float(both.filter(pl.col("then").is_null())["now"].sum())
    what = f"of the events of the last {DAYS} days"
    yield Finding(
        EVENTS, options.item, f"share {what} with an item never seen before", new, options.max_new, option="max_new"
    )
    top = both.row(-1, named=True)
    gain = top["now"] - (top["then"] or 0.0)
    rule = f"share {what} that one item gained"
    yield Finding(EVENTS, options.item, rule, gain, options.max_gain, {options.item: top[options.item]}, "max_gain")
    for table, column, what_it_is in ((ITEMS, options.item, "an item"), (USERS, options.user, "a user")):
        if table in tables:
            known = tables[table].select(column).collect(engine="streaming")
            strange = recent.join(known, on=column, how="anti")
            rule = f"share {what} with {what_it_is} that the table of {table} lacks"
            example = {column: strange[column][0]} if strange.height else {}
            yield Finding(
                EVENTS, column, rule, strange.height / recent.height, options.max_unknown, example, "max_unknown"
            )
