"""Rows of a ranking: what is asked, what was known then, and in which order."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import ConfigError, DataError
from tasks.problems.ranking.dataset import HISTORY
from tests.unit.problems.ranking.films import AS_OF, dataset, events, problem


def _three(order: list[str]) -> pl.DataFrame:
    """One user with four films, the middle two at one moment."""
    day = [AS_OF - timedelta(days=days) for days in (9, 5, 5, 1)]
    return pl.DataFrame({"user": ["a"] * 4, "item": order, "time": day, "clock": [0.0, 1.0, 1.0, 2.0]})


def test_the_last_event_of_each_user_is_asked_and_the_one_before_validated() -> None:
    made = dataset(split="leave-one-out")
    assert {name: len(rows) for name, rows in made.splits.items()} == {"train": 60 * 8, "valid": 60, "test": 60}
    rows = made.splits["test"]
    history = made.inputs(rows)[HISTORY]
    order = made.events.group_by("_user", maintain_order=True).agg("_item")["_item"].to_list()
    names = ("", *made.contract.categories["_item"])
    assert [[names[code] for code in line if code] for line in history] == [films[-9:-1] for films in order]
    truth = made.target(rows)
    assert [names[place + 1] for place in (truth == 1).argmax(axis=1)] == [films[-1] for films in order]
    assert (truth == -1).sum(axis=1).tolist() == [len(films) - 1 for films in order]


def test_every_event_of_the_last_days_is_asked_with_what_was_known_before_it() -> None:
    made = dataset()
    day = made.days[made.asked]
    last = int(np.datetime64(AS_OF).astype(int))
    assert (day[made.splits["test"]] > last - 7).all()
    assert ((day[made.splits["valid"]] > last - 14) & (day[made.splits["valid"]] <= last - 7)).all()
    assert (day[made.splits["train"]] <= last - 14).all()
    assert len(made.splits["test"]) == (events()["time"] > AS_OF - timedelta(days=7)).sum()


def test_equal_times_have_an_order_that_ids_and_rows_do_not_tell() -> None:
    films = ["f1", "f2", "f3", "f4"]
    one = dataset(_three(films), split="leave-one-out")
    other = dataset(_three(films)[::-1], split="leave-one-out")
    assert one.events["_item"].to_list() == other.events["_item"].to_list()
    middle = [dataset(_three(["f1", f"x{n}", f"y{n}", "f4"]), split="leave-one-out") for n in range(8)]
    swapped = {made.events["_item"][1][0] for made in middle}
    assert swapped == {"x", "y"}


def test_an_earlier_release_is_asked_the_same_rows_about_its_own_catalogue() -> None:
    then = dataset(events().filter(pl.col("item") != "f07"), AS_OF)
    now = dataset()
    under = now.under(then.contract)
    rows = now.splits["test"]
    assert under.target(rows).shape == (len(rows), 39)
    gone = now.codes[now.asked[rows]] == 1 + list(now.contract.categories["_item"]).index("f07")
    assert ((under.target(rows) == 1).sum(axis=1) == ~gone).all() and gone.any()
    scores = np.random.default_rng(0).random((len(rows), 39)).astype(np.float32)
    translated = now.answers(then.contract)(scores)
    assert translated.shape == (len(rows), 40)
    place = list(now.contract.categories["_item"]).index("f07")
    assert (translated.argmin(axis=1) == place).all()
    theirs = list(then.contract.categories["_item"]).index("f20")
    np.testing.assert_array_equal(translated[:, list(now.contract.categories["_item"]).index("f20")], scores[:, theirs])
    with pytest.raises(ValueError, match=r"problem\.days is 3, tonight's is 7"):
        now.under(dataset(days=3).contract)


def test_what_was_had_may_come_again_only_where_it_is_said() -> None:
    twice = pl.concat([events(), events().with_columns(pl.col("time") - timedelta(days=60))])
    assert len(dataset(twice, split="leave-one-out").events) == len(events())
    again = dataset(twice, split="leave-one-out", repeats=True)
    assert len(again.events) == 2 * len(events())
    assert (again.target(again.splits["test"]) == -1).sum() == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"least_rating": 3}, "least_rating: name the column in rating"),
        ({"item": "user"}, "column 'user' is named twice"),
        ({"title": "title"}, "set items: true"),
        ({"order": "rank"}, "the name 'rank' is taken"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        problem(**options)


def test_too_few_events_are_told() -> None:
    with pytest.raises(DataError, match=r"events: no train row among 4 events split by time; deliver more"):
        dataset(_three(["f1", "f2", "f3", "f4"]), days=30)
    with pytest.raises(DataError, match="no event up to 2025"):
        dataset(as_of=AS_OF.replace(year=2025))
