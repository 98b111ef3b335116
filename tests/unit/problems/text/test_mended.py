"""What is harmless stays possible while a champion is there, and what spoils training is told."""

from typing import Any

import polars as pl
import pytest

from tasks.core.errors import DataError
from tests.unit.problems.text.letters import dataset, letters, problem


@pytest.mark.parametrize(
    ("tonight", "champion"),
    [
        ({"segments": []}, {"segments": ["language"]}),
        ({"longest": 300}, {"longest": 10}),
        ({"id": []}, {"id": ["letter"]}),
    ],
)
def test_a_champion_of_other_harmless_options_is_compared(tonight: dict[str, Any], champion: dict[str, Any]) -> None:
    made = dataset(**tonight)
    rows = made.splits["test"]
    under = made.under(problem(**champion).draft_contract())
    assert len(under.inputs(rows)["grams"]) == len(rows)
    assert set(under.segments) == set(made.segments)


def test_labelled_rows_without_their_group_are_told() -> None:
    table = letters().with_columns(who=pl.when(pl.col("letter") != "l0003").then("language"))
    with pytest.raises(DataError, match="who: null in 1 rows with a label; each of them needs its group"):
        dataset(table, group="who")
