"""Published sets of texts are dealt as the benchmark says."""

from pathlib import Path

import polars as pl

from bench.texts.record import night_of
from bench.texts.sets import FOLDS, SETS, phrasebank


def test_folds_are_stratified_and_equal_texts_are_in_one(tmp_path: Path) -> None:
    texts = [f"profit rose by {number} %" for number in range(100)] + ["Sales fell .", "sales  fell."] * 5
    labels = ["good", "bad", "good", "good"] * 25 + ["bad"] * 10
    pl.DataFrame({"Text": texts, "Sentiment": labels}).write_parquet(tmp_path / "financial_phrasebank.parquet")
    folds = [phrasebank(tmp_path, fold) for fold in range(FOLDS)]
    tested = pl.concat([fold.filter(split="test") for fold in folds])
    assert sorted(tested["text"]) == sorted(texts)
    for fold in folds:
        assert {*fold["split"]} == {"train", "valid", "test"} and len(fold) == len(texts)
        assert fold.filter(split="test")["label"].value_counts().filter(label="good")["count"][0] == 15
        homes = fold.filter(pl.col("text").str.to_lowercase().str.contains("sales"))["split"].unique()
        assert len(homes) <= 2 and ("test" not in homes or len(homes) == 1)


def test_the_settings_of_each_set_are_a_night(tmp_path: Path) -> None:
    rows = pl.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "split": ["train", "test"]})
    for name in SETS:
        night = night_of(name, rows, tmp_path / name)
        assert night.problem.kind == "text" and night.context.run.students.keys() == {"student", "twin"}
