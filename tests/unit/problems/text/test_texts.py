"""Rows of texts: how they are dealt, what stops a night, what is done to them, and how labels are measured."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError, RuleError
from tasks.gates.drift import profile_inputs
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.base import Raw, Synthesis
from tasks.problems.text.disturbances import disturb_texts
from tasks.problems.text.metrics import score_labels
from tasks.problems.text.unlabelled import SYNTHESIS
from tests.unit.problems.text.letters import AS_OF, OPTIONS, dataset, letters, problem


def broken(table: pl.DataFrame, **changes: Any) -> list[str]:
    """The rules that are broken by these letters."""
    found = list(problem(**changes).findings({"rows": table.lazy()}, AS_OF))
    assert len(found) == 6
    return [each.rule for each in found if not each.value <= each.high]


def more(text: str, label: str | None = "order", count: int = 1) -> pl.DataFrame:
    row = letters(1).with_columns(text=pl.lit(text), label=pl.lit(label, pl.String))
    return pl.concat([letters(), *[row.with_columns(letter=pl.lit(f"m{number}")) for number in range(count)]])


def test_equal_texts_are_in_one_split_however_they_are_written() -> None:
    table = pl.concat(
        [letters(), letters().with_columns(pl.col("text").str.to_uppercase(), letter="x" + pl.col("letter"))]
    )
    made = dataset(table)
    split = np.empty(len(made.groups), object)
    for name, rows in made.splits.items():
        split[rows] = name
    texts = [text.lower() for text in made.texts]
    assert len(set(zip(texts, split, strict=True))) == len(set(texts)) < len(texts)
    assert len(made.unlabelled) == 72 and len(texts) == 648


def test_rows_are_dealt_by_time_or_as_the_table_says() -> None:
    by_time = dataset(time="day")
    days = letters().filter(pl.col("label").is_not_null())["day"]
    assert days[by_time.splits["train"].tolist()].max() < days[by_time.splits["test"].tolist()].min()
    said = letters().with_columns(part=pl.Series(["train", "valid", "test", None] * 90))
    made = dataset(said, split="part")
    kept = said.filter(pl.col("part").is_not_null(), pl.col("label").is_not_null())
    assert [len(made.splits[name]) for name in ("train", "valid", "test")] == [
        len(kept.filter(part=name)) for name in ("train", "valid", "test")
    ]
    with pytest.raises(DataError, match="no test row"):
        dataset(said.with_columns(part=pl.col("part").replace("test", "valid")), split="part")


def test_another_contract_cuts_the_same_texts_in_its_own_way() -> None:
    made = dataset()
    other = dataset(buckets=512, words=4).contract
    under = made.under(other)
    assert under.inputs(made.splits["test"])["words"].shape[1] == 4
    assert under.target(made.splits["test"]).tolist() == made.target(made.splits["test"]).tolist()
    with pytest.raises(ValueError, match=r"problem\.classes"):
        made.under(
            dataset(letters().filter(pl.col("label") != "other"), classes=["order", "refund"], other=None).contract
        )


def test_usual_letters_break_no_rule() -> None:
    assert broken(letters()) == []


@pytest.mark.parametrize(
    ("table", "changes", "rule"),
    [
        (more("… !"), {}, "share of texts without a word"),
        (more("ok", count=40), {"max_conflicts": 0.0}, ""),
        (pl.concat([more("ok", count=9), more("ok", "other", 10)[-1:]]), {"max_conflicts": 0.01}, "another label"),
        (more("\x00\x07 parcel", count=9), {}, "signs of another encoding"),
        (more("wo ist KÃ¶ln", count=9), {}, "signs of another encoding"),
        (more("it\ufffds late", count=9), {}, "signs of another encoding"),
        (more("x" * 301), {}, "characters of the longest text"),
        (more("where", "Order"), {}, "rows whose label is none of problem.classes"),
        (letters().filter(pl.col("label").is_null() | (pl.col("label") != "refund")), {}, "classes with fewer than 10"),
    ],
)
def test_texts_that_stop_a_night(table: pl.DataFrame, changes: dict[str, Any], rule: str) -> None:
    found = broken(table, **changes)
    assert len(found) == (1 if rule else 0) and rule in "".join(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["a"]}, r"problem\.classes"),
        ({"classes": ["a", "a"]}, "named twice"),
        ({"other": "nothing"}, "none of the classes"),
        ({"segments": ["text"]}, "'text' is named twice"),
        ({"segments": ["predicted"]}, "'predicted' is taken"),
        ({"letters": [3, 2]}, "letters: expected the shortest and the longest"),
        ({"group": "text"}, "group: 'text' has another meaning"),
    ],
)
def test_options_that_contradict_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        problem(**changes)


def test_a_disturbance_changes_the_text_that_models_read() -> None:
    texts = ["where is my parcel", "one"]
    assert disturb_texts("case", 1.0, texts, 1) == ["WHERE IS MY PARCEL", "ONE"]
    assert disturb_texts("drop", 0.99, texts, 1)[1] == "one"
    assert (
        len(disturb_texts("drop", 0.5, texts * 50, 1)[0].split()) < 4 or disturb_texts("drop", 0.5, texts, 2) != texts
    )
    assert disturb_texts("typos", 0.0, texts, 1) == texts != disturb_texts("typos", 0.5, texts, 1)
    made = dataset()
    evaluation = EvaluationSet(problem(), made)
    clean = made.inputs(evaluation.rows)
    (upper,) = evaluation.disturbed("case", 1.0, 1)
    (typos,) = evaluation.disturbed("typos", 0.3, 1)
    assert np.array_equal(upper["grams"], clean["grams"]) and not np.array_equal(typos["grams"], clean["grams"])
    with pytest.raises(ConfigError, match="unknown kind 'rain'; there are: typos, drop, case, noise"):
        evaluation.disturbed("rain", 0.1, 1)


@pytest.mark.parametrize("kind", list(SYNTHESIS))
def test_rows_without_a_label_are_made_for_students(kind: str) -> None:
    made = dataset()
    maker: Synthesis = SYNTHESIS[kind].model_validate({"rows": 50})
    inputs, parents = maker.make(made, np.random.default_rng(0))
    assert len(parents) == len(inputs["grams"]) == len(inputs["words"]) == (36 if kind == "unlabelled" else 50)
    assert set(parents) <= set(made.splits["train"])


def test_a_table_without_unlabelled_rows_says_so() -> None:
    made = dataset(letters().filter(pl.col("label").is_not_null()))
    with pytest.raises(DataError, match="no row without a label"):
        SYNTHESIS["unlabelled"]().make(made, np.random.default_rng(0))


def test_labels_are_measured() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.25, 0.2, 0.55]])
    score = score_labels(np.log(chances).astype(np.float32), np.array([0, 1, 2, 2]), 2)
    assert score.error == pytest.approx(-np.log([0.7, 0.8, 0.3, 0.55]).mean(), rel=1e-6)
    assert score.metrics["accuracy"] == 0.75 and score.metrics["other_auc"] == 1.0
    assert score.metrics["macro_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert "other_auc" not in score_labels(np.log(chances).astype(np.float32), np.array([0, 1, 2, 2]), None).metrics


def test_pictures_show_the_surest_mistakes_with_their_text() -> None:
    made, rows = dataset(), dataset().splits["test"]
    sure = np.zeros((len(rows), 3), np.float32)
    sure[:, 0] = 3
    found = problem().examples(made, rows, {"candidate": sure, "naive": sure * 0}, 5)
    assert len(found) == 5
    assert found[2].title.startswith("rows of the most frequent mistakes: ") and sum(
        found[2].curves["candidate"]
    ) == sum(made.target(rows) > 0)
    assert all(picture.title.startswith("“") and "taken for order" in picture.title for picture in found[3:])


def test_no_profile_keeps_what_people_wrote() -> None:
    profile = profile_inputs(Raw({"rows": letters().lazy()}, AS_OF), problem().tables())
    assert set(profile) == {"label", "language"}


def test_a_text_that_is_too_long_is_no_row_to_predict() -> None:
    made = dataset()

    class Zero:
        names = ("grams",)

        def __call__(self, inputs: Any) -> Any:
            return np.zeros((len(inputs["grams"]), 3), np.float32)

    table = more("x" * 301)
    with pytest.raises(RuleError, match="301 characters in row 360") as found:
        problem().predict({"rows": table.lazy()}, AS_OF, made.contract, Zero())
    assert (found.value.column, found.value.row) == ("text", 360)


def test_the_source_makes_the_same_day_every_night() -> None:
    from datetime import timedelta

    from tasks.tables.sources import get_source

    options = {"classes": [*_wishes()], "id": ["request"], "time": "day", "segments": ["channel"]}
    contracts = problem(**{**OPTIONS, "other": "other", **options}).tables()
    source = get_source(Spec(kind="simulated-requests", days=4), contracts, "any")
    first, second = (source.fetch(AS_OF + timedelta(days=more)).tables["rows"] for more in (0, 1))
    same = ("request", "text")
    again = second.filter(pl.col("day") < AS_OF).select(same)
    assert first.filter(pl.col("day") < AS_OF, pl.col("day") > AS_OF - timedelta(days=3)).select(same).equals(again)
    assert first.filter(pl.col("day") == AS_OF)["label"].null_count() == 30


def _wishes() -> list[str]:
    from tasks.tables.sources.request_phrases import INTENTS, OTHER

    return [*INTENTS, OTHER]
