"""A table of users: what it tells are segments of the gates and of the watch; a user whom it lacks is `unknown`."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.errors import ConfigError, DataError, RuleError
from tasks.problems.base import Since
from tasks.problems.ranking.afterwards import popular_lists
from tasks.problems.ranking.dataset import load_histories
from tasks.tables.validation.guard import Guard
from tasks.tables.validation.options import Checks, parse_checks
from tests.unit.problems.ranking.films import AS_OF, events, problem

OPTIONS: dict[str, Any] = {"split": "leave-one-out", "users": ["age", "town"]}


def users() -> pl.DataFrame:
    """All users but one; some are of no town, one is called as no other."""
    names = events()["user"].unique().sort()[1:]
    number = pl.int_range(pl.len())
    return pl.DataFrame({"user": names}).with_columns(
        pl.when(number % 2 == 0).then(pl.lit("old")).otherwise(pl.lit("young")).alias("age"),
        pl.when(number % 3 == 0).then(pl.lit(None, pl.String)).otherwise(pl.lit("Żółw 1")).alias("town"),
    )


def tables(of: pl.DataFrame | None = None) -> dict[str, pl.LazyFrame]:
    return {"events": events().lazy(), "users": (users() if of is None else of).lazy()}


def test_attributes_are_segments_and_stay_so_when_the_dataset_is_stored(tmp_path: Path) -> None:
    kind = problem(**OPTIONS)
    assert kind.segment_columns == ("activity", "item_age", "age", "town")
    made = kind.features(tables(), AS_OF)
    made.save(tmp_path)
    again = load_histories(tmp_path)
    for found in (made, again):
        assert set(found.segments["age"]) == {"old", "young", "unknown"}
        assert set(found.segments["town"]) == {"Żółw 1", "unknown"}
        assert {len(values) for values in found.segments.values()} == {len(made.groups)}
    row = made.splits["test"][0]
    assert made.segments["age"][row] == "unknown", "the first user, whom the table lacks"


def test_nothing_else_depends_on_them() -> None:
    with_users, without = problem(**OPTIONS).features(tables(), AS_OF), problem(split="leave-one-out").features(
        {"events": events().lazy()}, AS_OF
    )  # fmt: skip
    rows = without.splits["test"]
    assert with_users.contract.categories == without.contract.categories
    assert (with_users.inputs(rows)["history"] == without.inputs(rows)["history"]).all()
    under = without.under(with_users.contract)
    assert under.segments.keys() == without.segments.keys(), "a champion is compared on the same rows"


def test_training_without_the_table_is_refused_with_a_way_out() -> None:
    with pytest.raises(DataError, match=r"^users: this table is missing; problem.users names columns of it"):
        problem(**OPTIONS).features({"events": events().lazy()}, AS_OF)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: pl.concat([table, table[:1]]), "unique user"),
        (lambda table: table.with_columns(user=pl.lit(None, pl.String)), "not null"),
        (lambda table: table.drop("town"), "town"),
    ],
)
def test_users_twice_or_without_a_name_are_refused(change: Any, said: str) -> None:
    contract = problem(**OPTIONS).tables()[1]
    assert contract.name == "users" and not contract.required
    guard = Guard(contract, parse_checks(Checks(), contract))
    guard.require(users())
    with pytest.raises(RuleError) as error:
        guard.require(change(users()))
    assert said in f"{error.value.column} {error.value.rule}"


def test_events_of_users_whom_the_table_lacks_are_a_finding() -> None:
    found = {finding.column: finding for finding in problem(**OPTIONS).findings(tables(users()[30:]), AS_OF)}
    assert found["user"].value > found["user"].high and found["user"].example
    assert "a user that the table of users lacks" in found["user"].rule
    fine = problem(**OPTIONS, max_unknown=0.05).findings(tables(), AS_OF)
    assert all(finding.value <= finding.high for finding in fine if finding.column == "user")


def test_the_watch_tells_what_came_by_attribute() -> None:
    kind, day = problem(**OPTIONS), AS_OF - timedelta(days=7)
    since = Since(day, AS_OF, tables(), dict)
    lists = popular_lists(since, kind.options, 12)
    rows = kind.outcomes(lists, since, kind.draft_contract()).rows
    assert set(rows["by:age"]) <= {"old", "young", "unknown"} and rows["by:age"].n_unique() >= 2
    gone = kind.outcomes(lists, Since(day, AS_OF, {"events": events().lazy()}, dict), kind.draft_contract()).rows
    assert set(gone["by:age"]) == {"unknown"} and gone.drop("by:age", "by:town").equals(rows.drop("by:age", "by:town"))


@pytest.mark.parametrize("name", ["user", "activity", "item_age"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"users: '{name}' is a key, a segment of its own or named twice"):
        problem(users=[name])
