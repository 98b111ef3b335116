"""What came of kept lists: the items that users had on the days after, by their ranks in what was named."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from tasks.problems.base import BY, Outcomes, Since
from tasks.problems.ranking.baselines import DAYS
from tasks.problems.ranking.dataset import activity_of
from tasks.problems.ranking.events import (
    DAY,
    EVENTS,
    ITEM,
    OF,
    UNKNOWN,
    USER,
    USERS,
    attributes,
    in_order,
    numbered_items,
    tie,
    weighed_counts,
)
from tasks.problems.ranking.metrics import gains
from tasks.problems.ranking.options import ACTIVITY, Options

EXACT = 2**53


def last_day(as_of: date, options: Options) -> date:
    """Return the last of the days whose events count."""
    return as_of + timedelta(days=options.days)


def outcomes(predictions: pl.DataFrame, since: Since, options: Options) -> Outcomes:
    """Score the lists of users by what each had on each day: a row a user and day, an event counts as in the gates.

    `truth` is a number made of the items, so that another item gives another one. Lists have no bias: `size` is 0.
    """
    events = in_order(since.now[EVENTS], options, since.until)
    users = predictions.select(pl.col(options.user).alias(USER)).unique()
    named = predictions.select(
        pl.col(options.user).alias(USER), pl.col(options.item).alias(ITEM), (pl.col("rank") - 1).alias("before")
    )
    asked = (
        events.filter(pl.col(DAY).is_between(since.as_of, last_day(since.as_of, options), closed="right"))
        .join(users, on=USER, how="semi")
        .join(named, on=[USER, ITEM], how="left", maintain_order="left")
    )
    ranks = asked["before"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    ties = [tie(user, item) for user, item in asked.select(USER, ITEM).iter_rows()]
    had = events.filter(pl.col(DAY) <= since.as_of).group_by(USER).agg(pl.len().alias("had"))
    rows = (
        asked.with_columns(pl.Series("loss", 1 - gains(ranks), pl.Float64), pl.Series("tie", ties, pl.UInt64))
        .group_by(USER, DAY)
        .agg(
            (pl.col("tie") % EXACT).sum().mod(EXACT).cast(pl.Float64).alias("truth"),
            pl.col("loss").sum(),
            pl.len().cast(pl.Float64).alias("weight"),
        )
        .join(had, on=USER, how="left")
        .sort(USER, DAY)
    )
    # A night's table may have lost users since; who they were is then not known.
    told = attributes(since.now[USERS], options) if options.users and USERS in since.now else None
    rows = rows if told is None else rows.join(told, USER, "left", maintain_order="left")
    return Outcomes(
        rows.select(
            pl.col(USER).alias("entity"),
            pl.col(DAY).alias("day"),
            (pl.col(DAY) - pl.lit(since.as_of)).dt.total_days().cast(pl.Int32).alias("step"),
            "truth",
            "loss",
            "weight",
            pl.lit(0.0).alias("gap"),
            pl.lit(0.0).alias("size"),
            pl.lit(None, pl.Boolean).alias("inside"),
            pl.Series(BY + ACTIVITY, activity_of(rows["had"].fill_null(0).to_numpy()), pl.String),
            *(_attribute(name, known=told is not None) for name in options.users),
        ),
        steps=options.days,
        as_gated=False,  # a kept list knows nothing of the days between, which the gates' histories go on with
    )


def _attribute(name: str, *, known: bool) -> pl.Expr:
    value = pl.col(f"{OF}{name}").fill_null(UNKNOWN) if known else pl.lit(UNKNOWN)
    return value.alias(BY + name)


def popular_lists(since: Since, options: Options, count: int) -> pl.DataFrame:
    """Return what was most popular in the last days, for each user without what that user had."""
    events = in_order(since.now[EVENTS], options, since.as_of)
    lately = events[DAY] > since.as_of - timedelta(days=DAYS)
    items, number = numbered_items(events)
    ever = weighed_counts(events, number, np.ones(len(events), np.bool_))
    of_late = weighed_counts(events, number, lately.to_numpy())
    popular = items.gather(np.lexsort((-ever, -of_late))).to_list()  # of equal ones the first by its id
    parts = [
        (user, rank, item)
        for user, had in events.group_by(USER, maintain_order=True).agg(ITEM).iter_rows()
        for rank, item in enumerate(_first(popular, set() if options.repeats else set(had), count), 1)
    ]
    names = {options.user: pl.String, "rank": pl.Int64, options.item: pl.String}
    return pl.DataFrame(parts, names, orient="row")


def _first(popular: list[str], had: set[str], count: int) -> list[str]:
    return [item for item in popular[: count + len(had)] if item not in had][:count]
