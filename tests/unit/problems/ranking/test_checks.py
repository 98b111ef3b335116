"""Events that are valid one by one, and wrong together."""

from datetime import timedelta

import polars as pl

from tests.unit.problems.ranking.films import AS_OF, events, problem

ITEMS = pl.DataFrame({"item": [f"f{number:02d}" for number in range(40)]})


def broken(table: pl.DataFrame, items: pl.DataFrame = ITEMS) -> list[str]:
    """The rules that are broken by these events, in few words."""
    found = problem(items=True).findings({"events": table.lazy(), "items": items.lazy()}, AS_OF)
    assert len(list(found)) == 3
    found = problem(items=True).findings({"events": table.lazy(), "items": items.lazy()}, AS_OF)
    return [each.rule.rpartition("days ")[2] for each in found if not each.value <= each.high]


def lately(item: str, count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": [f"w{number}" for number in range(count)],
            "item": [f"{item}{number}" if item == "x" else item for number in range(count)],
            "time": [AS_OF - timedelta(days=1)] * count,
            "clock": [0.0] * count,
        }
    )


def test_usual_events_break_no_rule() -> None:
    assert broken(events()) == []


def test_a_popularity_that_jumps_is_told() -> None:
    assert broken(pl.concat([events(), lately("f05", 60)])) == ["that one item gained"]


def test_items_never_seen_and_items_that_nobody_described_are_told() -> None:
    described = pl.concat([ITEMS, lately("x", 200).select("item")])
    assert broken(pl.concat([events(), lately("x", 200)]), described) == ["with an item never seen before"]
    assert broken(pl.concat([events(), lately("x", 5)])) == ["with an item that the table of items lacks"]


def test_few_events_say_nothing() -> None:
    early = events().filter(pl.col("time") <= AS_OF - timedelta(days=7))
    assert list(problem().findings({"events": pl.concat([early, lately("f05", 20)]).lazy()}, AS_OF)) == []
