"""What is harmless stays possible while a champion is there."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.core.errors import DataError, RuleError
from tasks.problems.base import Raw, Since
from tests.unit.problems.vision import shapes

LABELS = shapes.labels()


@pytest.mark.parametrize(
    ("tonight", "champion"),
    [
        ({"by": []}, {"by": ["pen"]}),
        ({"id": "id"}, {"id": None}),
        ({"max_unreadable": 0.1}, {"max_unreadable": 0.0}),
        ({}, {"most_pixels": 10, "fit": "stretch", "height": 4}),
    ],
)
def test_a_champion_of_other_harmless_options_is_compared(tonight: dict[str, Any], champion: dict[str, Any]) -> None:
    made = shapes.dataset(LABELS, **tonight)
    theirs = shapes.problem(**champion).draft_contract()
    under = made.under(theirs, Raw({"labels": LABELS.lazy()}, shapes.AS_OF))
    rows = made.splits["test"]
    assert under.inputs(rows)["image"].shape == (len(rows), *theirs.inputs["image"][1])
    assert set(under.segments) == set(made.segments)


class Zeros:
    """A model that says nothing, of images that it keeps."""

    names = ("image",)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, inputs: Any) -> Any:
        self.seen.append(inputs["image"])
        return np.zeros((len(inputs["image"]), 3), np.float32)


BROKEN = LABELS.with_columns(pl.when(pl.col("id") == "i0003").then(pl.lit(b"x")).otherwise("image").alias("image"))


def test_an_unreadable_file_is_told_with_its_row_or_left_out_at_night_within_the_limit() -> None:
    for name in ("id", None):
        strict, lax = (shapes.problem(id=name, max_unreadable=limit) for limit in (0.0, 0.01))
        contracts = [each.draft_contract() for each in (strict, lax)]
        with pytest.raises(RuleError, match="image: file 3 is no image") as told:
            strict.predict({"labels": BROKEN.lazy()}, shapes.AS_OF, contracts[0], Zeros())
        assert (told.value.column, told.value.row) == ("image", 3)
        assert strict.spared({"labels": BROKEN}, contracts[0])["labels"] is BROKEN
        spared = lax.spared({"labels": BROKEN}, contracts[1])["labels"]
        found = lax.predict({"labels": spared.lazy()}, shapes.AS_OF, contracts[1], Zeros())
        places = [place for place in range(len(LABELS)) if place != 3]
        assert found[name or "row"].to_list() == ([LABELS["id"][place] for place in places] if name else places)
        half = BROKEN.with_columns(image=pl.when(pl.int_range(pl.len()) < 80).then("image").otherwise(pl.lit(b"x")))
        assert lax.spared({"labels": half}, contracts[1])["labels"] is half


def test_the_naive_answer_reads_no_file() -> None:
    problem, day = shapes.problem(), shapes.AS_OF
    since = Since(day, day, {"labels": BROKEN.lazy()}, lambda: {"labels": LABELS.lazy()})
    assert len(problem.naive_predictions(since, problem.draft_contract())) == len(LABELS)


def test_a_prediction_needs_the_image_and_the_id_alone_and_training_the_rest() -> None:
    built = shapes.problem(time="day")
    needed = [column.name for column in built.tables()[0].columns if column.required]
    assert needed == ["image", "id"]
    bare = LABELS.select(needed)
    assert len(built.predict({"labels": bare.lazy()}, shapes.AS_OF, built.draft_contract(), Zeros())) == len(bare)
    for name, options in (("day", {"time": "day"}), ("pen", {})):
        with pytest.raises(DataError, match=f"{name}: "):
            shapes.dataset(LABELS.drop(name, strict=False), **options)


@pytest.mark.parametrize("name", ["truth", "entity", "loss"])
def test_a_column_may_be_called_as_outcomes_are(name: str) -> None:
    built = shapes.problem(by=[name])
    table = LABELS.rename({"pen": name})
    then = table.with_columns(label=pl.when(pl.int_range(pl.len()) < 150).then("label"))
    day = shapes.AS_OF
    since = Since(day, day, {"labels": table.lazy()}, lambda: {"labels": then.lazy()})
    said = built.naive_predictions(since, built.draft_contract())
    assert set(built.outcomes(said, since, built.draft_contract()).rows[f"by:{name}"]) == {"thin", "thick"}
    without = Since(day, day, {"labels": table.drop(name).lazy()}, lambda: {"labels": then.lazy()})
    assert set(built.outcomes(said, without, built.draft_contract()).rows[f"by:{name}"]) == {"null"}


def test_categories_are_read_as_texts() -> None:
    plain = LABELS.with_columns(pen=pl.when(pl.col("id") != "i0001").then("pen"))
    label, pen = pl.Enum(shapes.CLASSES), pl.Enum(["thin", "thick"])
    table = plain.with_columns(pl.col("label").cast(label), pl.col("pen").cast(pen))
    assert all(each.value <= each.high for each in shapes.problem().findings({"labels": table.lazy()}, shapes.AS_OF))
    made, texts = shapes.dataset(table), shapes.dataset(plain)
    assert (made.labels == texts.labels).all() and (made.segments["pen"] == texts.segments["pen"]).all()
