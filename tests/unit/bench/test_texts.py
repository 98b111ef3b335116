"""Published sets of texts are dealt as the benchmark says, and what was measured is told."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench.texts.__main__ import main
from bench.texts.record import FASTTEXT, fasttext, microseconds, night_of
from bench.texts.sets import FOLDS, SETS, amazon, phrasebank
from bench.texts.table import picture, tables
from tasks.compression.export import export_onnx
from tasks.compression.runtime import OnnxModel
from tasks.core.config import Spec
from tasks.core.errors import DataError, UsageError
from tasks.core.settings import Settings
from tasks.problems.models import build_model
from tests.unit.problems.text.letters import dataset

FASTTEXT_PYTHON = Settings().home / "envs" / "bench-texts" / "bin" / "python"


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


def record(part: int, accuracy: float, **more: Any) -> dict[str, Any]:
    line = {"accuracy": accuracy, "macro_f1": accuracy - 0.1, "log_loss": 1.0, "bytes": 100 + part}
    return {
        "set": "phrasebank",
        "part": part,
        "models": {"released": line, "fastText": {**line, "bytes": None}},
        **more,
    }


def test_a_table_has_each_fold_and_their_median_and_spread(tmp_path: Path) -> None:
    about = {
        "steps": [{"step": "student", "error": 0.5, "bytes": 1000}],
        "microseconds": {"encode": 40.0, "model": 30.0, "both": 71.0},
        "classes": ["a", "b"],
        "confusion": [[3, 1], [0, 4]],
    }
    records = [record(0, 0.5, **about), record(1, 0.7, **about), record(2, 0.8)]
    models, steps = tables(records)
    assert (
        "| **released** | 0.5000 | 0.7000 | 0.8000 | 0.7000 ± 0.1500 | 0.6000 ± 0.1500 | 1.0000 ± 0.0000 | 101 |"
        in models
    )
    assert "| fastText | 0.5000 | 0.7000 | 0.8000 | 0.7000 ± 0.1500 |" in models
    assert "| student | 0.5000 | 1,000 |" in steps and "40 to numbers, 30 in the file, 71 in all" in steps
    picture(records, tmp_path / "told.png")
    assert (tmp_path / "told.png").read_bytes()[:4] == b"\x89PNG"


def test_one_text_is_timed_from_its_letters_to_its_label() -> None:
    made = dataset()
    model = build_model(Spec(kind="bag", width=4, rows=16), made.contract).eval()
    file = export_onnx(model, made.contract, made.inputs(np.arange(2), ("grams",)))
    found = microseconds(made.texts[:20], made.contract.tokens["grams"], OnnxModel(file))
    assert 0 < found["encode"] < found["both"] and 0 < found["model"] < found["both"] < 1e5


def test_what_there_is_not_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no set: poems"):
        main(tmp_path, sets=["poems"])
    with pytest.raises(UsageError, match="--part: amazon has 1, counted from 0"):
        main(tmp_path, sets=["amazon"], parts=[1])
    with pytest.raises(DataError, match=r"there is no banking77_train\.parquet below"):
        SETS["banking77"].rows(tmp_path, 0)


def test_reviews_of_equal_words_are_in_one_split(tmp_path: Path) -> None:
    texts = [f"game {number} is fun" for number in range(60)] + ["Bad app!", "bad  APP !"] * 10
    marks = [1] * 60 + [0] * 20
    pl.DataFrame({"reviewText": texts, "Positive": marks}).write_parquet(tmp_path / "amazon_reviews_20k.parquet")
    rows = amazon(tmp_path, 0)
    assert {*rows["split"]} == {"train", "valid", "test"} and {*rows["label"]} == {"positive", "negative"}
    tested = rows.filter(pl.col("label") == "negative")["split"] == "test"
    assert tested.all() or not tested.any()


@pytest.mark.skipif(not FASTTEXT_PYTHON.exists(), reason="needs `make bench-texts-setup`")
def test_fasttext_learns_what_is_told_apart_by_a_word() -> None:
    texts = [f"{word} number {number}" for number in range(40) for word in ("buy", "sell")]
    rows = pl.DataFrame(
        {"text": texts, "label": ["up", "down"] * 40, "split": (["train"] * 4 + ["valid", "test"]) * 13 + ["test"] * 2}
    )
    found = fasttext(rows, FASTTEXT_PYTHON, 0)
    assert found["accuracy"] > 0.9 and found["bytes"] > 1000


@pytest.mark.skipif(not FASTTEXT_PYTHON.exists(), reason="needs `make bench-texts-setup`")
def test_fasttext_takes_the_next_best_settings_where_weights_become_no_numbers(tmp_path: Path) -> None:
    """When the library ends so is chance, so that its training is replaced: it is tried again, then the next counts."""
    code = f"""
import sys
sys.path.insert(0, {str(FASTTEXT.parent)!r})
from pathlib import Path
import fasttext_peer as peer
calls = []
def train(path, lr, luck, **options):
    calls.append(lr)
    if calls.count(lr) <= luck:
        raise RuntimeError("Encountered NaN.")
    return "model"
peer.fasttext.train_supervised = train
wild, calm = {{"lr": 9, "luck": 99}}, {{"lr": 1, "luck": 4}}
print(peer.converged([["buy", 0]], [wild, calm], 0, Path({str(tmp_path)!r}))[1] is calm, calls)
try:
    peer.converged([["buy", 0]], [wild], 0, Path({str(tmp_path)!r}))
except SystemExit as end:
    print(end)
"""
    found = subprocess.run([FASTTEXT_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [
        "True [9, 9, 9, 9, 9, 1, 1, 1, 1, 1]",
        "fastText: its weights became no numbers with any of its settings; lower their lr",
    ]
