"""What is harmless stays possible while a champion is there, and what spoils training is told."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import DataError
from tasks.problems.base import Since
from tests.unit.problems.text.letters import AS_OF, dataset, letters, problem


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


class Zeros:
    """A model that says nothing."""

    names = ("grams",)

    def __call__(self, inputs: Any) -> Any:
        return np.zeros((len(inputs["grams"]), 3), np.float32)


def test_a_prediction_needs_the_text_and_the_id_alone_and_training_the_rest() -> None:
    built = problem(time="day")
    needed = [column.name for column in built.tables()[0].columns if column.required]
    assert needed == ["text", "letter"]
    bare = letters().select(needed)
    assert len(built.predict({"rows": bare.lazy()}, AS_OF, built.draft_contract(), Zeros())) == len(bare)
    for name, role in (("day", "time"), ("language", "segment")):
        with pytest.raises(DataError, match=f"{name}: the table has no such column, and training needs the {role}"):
            dataset(letters().drop(name), time="day")


@pytest.mark.parametrize("name", ["truth", "entity", "loss"])
def test_a_column_may_be_called_as_outcomes_are(name: str) -> None:
    built = problem(segments=[name])
    table = letters().rename({"language": name})
    now = table.with_columns(pl.col("label").fill_null("refund"))
    since = Since(AS_OF, AS_OF, {"rows": now.lazy()}, lambda: {"rows": table.lazy()})
    found = built.outcomes(built.naive_predictions(since, built.draft_contract()), since, built.draft_contract())
    assert set(found.rows[f"by:{name}"]) == {"de", "en"} and set(found.rows["truth"]) == {1.0}
    without = Since(AS_OF, AS_OF, {"rows": now.drop(name).lazy()}, lambda: {"rows": table.lazy()})
    told = built.outcomes(built.naive_predictions(since, built.draft_contract()), without, built.draft_contract())
    assert set(told.rows[f"by:{name}"]) == {"null"}


def test_outputs_that_are_no_numbers_have_no_error() -> None:
    logits = np.zeros((4, 3), np.float32)
    logits[1] = np.nan
    score = problem().score(logits, np.array([0, 1, 2, 0]))
    assert np.isnan(score.error) and np.isnan(score.metrics["calibration_error"])


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(["order", "refund", "other"])])
def test_categories_are_read_as_texts(dtype: Any) -> None:
    table = letters().with_columns(pl.col("label").cast(dtype), pl.col("text", "language").cast(pl.Categorical))
    built = problem()
    assert all(each.value <= each.high for each in built.findings({"rows": table.lazy()}, AS_OF))
    made, plain = dataset(table), dataset()
    assert made.texts == plain.texts and (made.target(np.arange(9)) == plain.target(np.arange(9))).all()
    now = table.with_columns(pl.col("label").fill_null("refund"))
    since = Since(AS_OF, AS_OF, {"rows": now.lazy()}, lambda: {"rows": table.lazy()})
    told = built.naive_predictions(since, made.contract)
    assert set(built.outcomes(told, since, made.contract).rows["by:label"]) == {"refund"}
