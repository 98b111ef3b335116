"""Rows of a last fit, of kinds whose rows are dealt to splits: those that validated are trained on, no row of the test.

Nothing of the test rows is in them, whatever they say.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from tasks.problems.base import Dataset
from tests.unit.problems.tabular.labelled import homes
from tests.unit.problems.text import letters
from tests.unit.problems.vision import shapes


class Kind(NamedTuple):
    """`rows(table)`: a dataset of a raw table; `planted(table, places)`: the table, other truths at these places."""

    table: pl.DataFrame
    rows: Callable[[pl.DataFrame], Dataset]
    planted: Callable[[pl.DataFrame, Any], pl.DataFrame]


def relabelled(column: str, value: Any) -> Callable[[pl.DataFrame, Any], pl.DataFrame]:
    def planted(table: pl.DataFrame, places: Any) -> pl.DataFrame:
        there = pl.Series(np.isin(np.arange(len(table)), places))
        return table.with_columns(pl.when(there).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))

    return planted


KINDS = {
    "value": Kind(homes.homes(), lambda table: homes.dataset(table=table), relabelled("price", 9e9)),
    "value by time": Kind(
        homes.homes(),
        lambda table: homes.dataset(table=table, time="listed", group="owner"),
        relabelled("price", 9e9),
    ),
    "classes": Kind(homes.homes(), lambda table: homes.dataset(homes.CLASSES, table=table), relabelled("size", "huge")),
    "text": Kind(letters.letters(), letters.dataset, relabelled("label", "other")),
    "vision": Kind(shapes.labels(), shapes.dataset, relabelled("label", "leaning")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_validated_are_trained_on_and_those_of_the_test_are_not(kind: str) -> None:
    rows = KINDS[kind].rows(KINDS[kind].table)
    newest = rows.newest()
    before, now = rows.splits, newest.splits
    assert len(before["valid"]) and len(now["valid"]) == 0
    assert now["train"].tolist() == sorted([*before["train"], *before["valid"]])
    assert now["test"].tolist() == before["test"].tolist()
    assert newest.contract == rows.contract, "the file reads its inputs as it did at the choice"
    for name, values in newest.inputs(before["valid"]).items():
        np.testing.assert_array_equal(values, rows.inputs(before["valid"])[name])


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_test_rows_say_is_not_among_them(kind: str) -> None:
    table, build, plant = KINDS[kind]
    rows = build(table)
    raw: Any = getattr(rows, "table", getattr(rows, "rows", None))
    other = build(plant(table, raw["_place"].to_numpy()[rows.splits["test"]]))
    test = rows.splits["test"]
    assert (other.target(test) != rows.target(test)).any(), "what was planted is there"
    first, second = rows.newest(), other.newest()
    learned = first.splits["train"]
    assert second.contract == first.contract
    np.testing.assert_array_equal(second.splits["train"], learned)
    np.testing.assert_array_equal(second.target(learned), first.target(learned))
    for name, values in first.inputs(learned).items():
        np.testing.assert_array_equal(values, second.inputs(learned)[name])
