"""One part of a set: a night's own stages up to the verdict, and its peers on the same rows."""

import json
import subprocess
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import yaml

from bench.rows.nights import Night, night_of_section
from bench.texts.sets import SETS
from serving.contract import Tokens
from serving.contract.tokens import words_of
from tasks.compression.runtime import OnnxModel
from tasks.core.files import read_json
from tasks.problems.blocks.classes import Labels, macro_f1
from tasks.problems.text.dataset import Texts

SETTINGS = Path(__file__).with_name("settings.yaml")
FASTTEXT = Path(__file__).with_name("fasttext_peer.py")
AS_OF = date(2026, 11, 28)
RELEASED, BEFORE = "released", "before the last fit"
TIMED, ROUNDS, MICRO = 300, 5, 1e6


def night_of(name: str, rows: pl.DataFrame, folder: Path, seed: int = 0) -> Night:
    """Return the night of a set's section in a folder, begun or not."""
    section = yaml.safe_load(SETTINGS.read_text())["sets"][name]
    section["seed"] += seed
    section["problem"] |= {"classes": sorted(rows["label"].unique()), "least_rows": 1}
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "rows.parquet")
    return night_of_section(name, section, folder, AS_OF, folder)


def measured(name: str, part: int, data: Path, folder: Path, python: Path | None) -> dict[str, Any]:
    """Run the night and the peers of a set's part. `python`: fastText's; None: it is left out.

    Returns a line of each model on test rows, what the released file takes for what, how its bytes came about, and
    the microseconds of one text: to numbers, in the file, and both.
    """
    rows = SETS[name].rows(data, part)
    night = night_of(name, rows, folder, part if SETS[name].name == "seed" else 0)
    verdict = night.judge()
    winner, chosen, about = verdict["winner"], None, {}
    if winner is not None:
        about = read_json(night.context.candidates / winner / "about.json")
        chosen = about.get("of")
    lines: dict[str, Any] = {}
    for model in verdict["models"]:
        told = {key: (model["metrics"] or {}).get(key) for key in ("accuracy", "macro_f1")}
        of = {winner: RELEASED, chosen: BEFORE}.get(model["name"], model["role"])
        lines[of if of not in lines else model["name"]] = told | {
            "log_loss": model["error"],
            "bytes": model["bytes"],
            "name": model["name"],
        }
    record = {"set": name, "part": part, "rows": len(rows), "reason": verdict["reason"], "models": lines | peers(rows)}
    if python is not None:
        record["models"]["fastText"] = fasttext(rows, python, part)
    if winner is None:
        return record
    made = night.dataset()
    assert isinstance(made, Texts)
    model = OnnxModel((night.context.candidates / winner / "model.onnx").read_bytes())
    if chosen is not None:
        about = read_json(night.context.candidates / chosen / "about.json")
    test = made.splits["test"]
    told = model(made.inputs(test, model.names)).argmax(axis=1)
    classes = made.options.classes
    confusion = np.bincount(made.target(test) * len(classes) + told, minlength=len(classes) ** 2)
    return record | {
        "classes": list(classes),
        "confusion": confusion.reshape(len(classes), -1).tolist(),
        "steps": about["history"],
        "microseconds": microseconds(
            [made.texts[row] for row in test[:TIMED]], made.contract.tokens[model.names[0]], model
        ),
        "seconds": night.seconds(),
    }


def microseconds(texts: Sequence[str], field: Tokens, model: OnnxModel) -> dict[str, float]:
    """Return the median over texts, one at a time, of the least of ROUNDS: to numbers, in the file, and both."""
    encode, run = [], []
    for text in texts:
        first, second = [], []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            numbers = {field.name: field.encode([text])}
            between = time.perf_counter()
            model(numbers)
            first.append(between - begun)
            second.append(time.perf_counter() - between)
        encode.append(MICRO * min(first))
        run.append(MICRO * min(second))
    both = [one + other for one, other in zip(encode, run, strict=True)]
    return {"encode": median(encode), "model": median(run), "both": median(both)}


def peers(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Return test accuracy and macro-F1 of TF-IDF of words and letters with two linear models of scikit-learn.

    They learn from the rows that validate as well, as they have nothing to choose.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    test = rows.filter(pl.col("split") == "test")
    learned = rows.filter(pl.col("split") != "test")
    union = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    given, asked = union.fit_transform(learned["text"].to_list()), union.transform(test["text"].to_list())
    names, target = np.unique(test["label"].to_numpy().astype(np.str_), return_inverse=True)
    found = {}
    for name, model in (
        ("TF-IDF, linear SVM", LinearSVC(C=1.0, random_state=7)),
        ("TF-IDF, logistic regression", LogisticRegression(C=20.0, max_iter=60)),
    ):
        told = model.fit(given, learned["label"].to_list()).predict(asked)
        found[name] = _scored(np.searchsorted(names, told), target)
    return found


def fasttext(rows: pl.DataFrame, python: Path, seed: int) -> dict[str, Any]:
    """Return test accuracy, macro-F1 and bytes of fastText. Raises CalledProcessError where its Python fails."""
    names = sorted(rows["label"].unique())
    numbers = pl.Series([names.index(label) for label in rows["label"]])
    texts = pl.Series([" ".join(words_of(text)) for text in rows["text"]])
    split = rows["split"]

    def labelled(which: str) -> list[list[Any]]:
        return [list(pair) for pair in zip(texts.filter(split == which), numbers.filter(split == which), strict=True)]

    asked = {
        "train": labelled("train"),
        "valid": labelled("valid"),
        "test": texts.filter(split == "test").to_list(),
        "seed": seed,
    }
    answer = subprocess.run(
        [python, FASTTEXT], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    found = json.loads(answer)
    target = numbers.filter(split == "test").to_numpy()
    return _scored(np.array(found["labels"]), target) | {"bytes": found["bytes"], "settings": found["settings"]}


def _scored(told: Labels, target: Labels) -> dict[str, Any]:
    return {"accuracy": float((told == target).mean()), "macro_f1": macro_f1(told, target)}
