"""What came of kept lists, by hand."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from tasks.problems.base import Since
from tests.unit.problems.ranking.films import AS_OF, dataset, events, problem

DAY = timedelta(days=1)


def since(rows: list[tuple[str, str, date, float]], until: date) -> Since:
    table = pl.DataFrame(rows, ["user", "item", "time", "clock"], orient="row").lazy()
    return Since(AS_OF, until, {"events": table}, dict)


def lists(**users: list[str]) -> pl.DataFrame:
    rows = [(user, rank, item) for user, items in users.items() for rank, item in enumerate(items, 1)]
    return pl.DataFrame(rows, ["user", "rank", "item"], orient="row")


def test_each_user_and_day_is_scored_by_the_ranks_of_what_came() -> None:
    rows: list[Any] = [
        ("ann", "a", AS_OF, 0.0),
        ("ann", "b", AS_OF + DAY, 0.0),  # first: no loss
        ("ann", "c", AS_OF + DAY, 1.0),  # third: 1 - 1 / log2(4)
        ("ann", "a", AS_OF + DAY, 2.0),  # had before: not asked
        ("ann", "z", AS_OF + 2 * DAY, 0.0),  # not named: all of it
        ("ann", "b", AS_OF + 9 * DAY, 0.0),  # after the days that count
        ("bob", "b", AS_OF + DAY, 0.0),  # nobody told bob anything
    ]
    found = problem().outcomes(lists(ann=["b", "x", "c"]), since(rows, AS_OF + 10 * DAY), dataset().contract)
    assert (found.exponent, found.steps, found.as_gated) == (1.0, 7, False)
    told = found.rows.sort("day").select("entity", "step", "loss", "weight", "by:activity").rows()
    assert told == [("ann", 1, 0.5, 2.0, "under 10 items"), ("ann", 2, 1.0, 1.0, "under 10 items")]


def test_another_item_is_another_truth_and_events_to_come_are_not_counted() -> None:
    def truth(item: str, until: date = AS_OF + DAY) -> list[float]:
        rows = [("ann", "a", AS_OF, 0.0), ("ann", item, AS_OF + DAY, 0.0)]
        found = problem().outcomes(lists(ann=["b"]), since(rows, until), dataset().contract).rows
        return found["truth"].to_list()

    assert truth("b") == truth("b") != truth("c")
    assert truth("b", until=AS_OF) == []


def test_the_naive_list_is_what_was_popular_lately_without_what_the_user_had() -> None:
    table = events()
    count = 5
    ours = problem()
    asked = Since(AS_OF, AS_OF, {"events": table.lazy()}, dict)
    contract = dataset(top=count).contract
    found = ours.naive_predictions(asked, contract)
    assert found.group_by("user").len()["len"].to_list() == [count] * table["user"].n_unique()
    had = set(table.select("user", "item").rows())
    assert not had & set(found.select("user", "item").rows())
    lately = table.filter(pl.col("time") > AS_OF - 7 * DAY).group_by("item").len()
    most = lately.sort("len", descending=True)["len"][0]
    firsts = found.filter(rank=1)["item"].unique()
    assert most in lately.filter(pl.col("item").is_in(firsts.to_list()))["len"].to_list()


def test_a_bad_list_is_worse_than_the_naive_one() -> None:
    table = events()
    day = AS_OF - 7 * DAY
    asked = Since(day, AS_OF, {"events": table.lazy()}, dict)
    ours, contract = problem(), dataset().contract
    naive = ours.naive_predictions(asked, contract)
    reversed_lists = naive.with_columns(pl.col("rank").reverse().over("user"))
    good, bad = (ours.outcomes(each, asked, contract).rows for each in (naive, reversed_lists))
    assert good["weight"].to_list() == bad["weight"].to_list()
    assert np.isfinite(bad["loss"].to_numpy()).all()
    assert good["loss"].to_numpy().sum() < bad["loss"].to_numpy().sum()
    assert ours.last_day(day) == AS_OF
