"""Measure texts: `python -m bench.texts banking77 --data DIR --out DIR`, in the task environment.

`--data` has `banking77_train.parquet` and `banking77_test.parquet` (columns text, label), or
`financial_phrasebank.parquet` (Text, Sentiment). Banking77 has its own test rows; of PhraseBank `--fold` of five is
tested, stratified, equal texts together. A sixth of the other rows validates. A night's own stages run up to the
verdict; scikit-learn's TF-IDF with logistic regression and with a linear support vector machine learns from the same
rows (those that validate included, as it has nothing to choose). Prints a Markdown table of the test rows.
"""

import logging
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
import yaml

from bench.files import write
from bench.rows.nights import Night
from serving.contract.tokens import words_of
from tasks.config.run import Run
from tasks.core.files import RUN_FILE, read_json
from tasks.core.settings import Settings
from tasks.distillation.trainer import set_up
from tasks.problems.blocks.classes import macro_f1
from tasks.stages.context import Context

SETTINGS = Path(__file__).with_name("settings.yaml")
AS_OF = date(2026, 11, 28)
FOLDS, VALID = 5, 6
HEAD = "| model | accuracy | macro-F1 | log loss | bytes |\n|---|---|---|---|---|"


def banking(data: Path) -> pl.DataFrame:
    """Return text, label and split; every sixth training row of a shuffled class validates."""
    train, test = (pl.read_parquet(data / f"banking77_{name}.parquet") for name in ("train", "test"))
    return pl.concat(
        [_with_valid(train.select("text", "label")), test.select("text", "label", pl.lit("test").alias("split"))]
    )


def phrasebank(data: Path, fold: int) -> pl.DataFrame:
    """Return text, label and split of one of FOLDS folds: of each class as many rows, equal texts in one."""
    rows = pl.read_parquet(data / "financial_phrasebank.parquet").select(text="Text", label="Sentiment")
    keys = [" ".join(words_of(text)) for text in rows["text"]]
    rows = rows.with_columns(pl.Series("key", keys))
    first = rows.group_by("key", maintain_order=True).agg(pl.col("label").first())
    dealt = first.with_columns((_shuffled().over("label") % FOLDS).alias("fold"))
    rows = rows.join(dealt.select("key", "fold"), on="key", maintain_order="left")
    chosen = rows["fold"] == fold
    test = rows.filter(chosen).select("text", "label", pl.lit("test").alias("split"))
    return pl.concat([_with_valid(rows.filter(~chosen).select("text", "label")), test])


def _shuffled() -> pl.Expr:
    return pl.int_range(pl.len()).shuffle(seed=7)


def _with_valid(rows: pl.DataFrame) -> pl.DataFrame:
    split = pl.when(_shuffled().over("label") % VALID == 0).then(pl.lit("valid")).otherwise(pl.lit("train"))
    return rows.with_columns(split.alias("split"))


def night_of(name: str, rows: pl.DataFrame, folder: Path) -> Night:
    """Return the night of a set's section in a folder, begun or not."""
    section = yaml.safe_load(SETTINGS.read_text())["sets"][name]
    section["problem"] |= {"classes": sorted(rows["label"].unique()), "least_rows": 1}
    run = Run(**section, workload=name, as_of=AS_OF, champion=0)
    folder.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(folder / "rows.parquet")
    (folder / RUN_FILE).write_text(run.to_yaml())
    set_up(run.seed, run.threads)
    context = Context(run, Settings(project=folder.resolve()), folder.resolve(), folder.resolve() / "pages", run_id="b")
    return Night(context)


def peers(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Return test accuracy and macro-F1 of TF-IDF of words and letters with two linear models of scikit-learn."""
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
        place = np.searchsorted(names, told)
        found[name] = {"accuracy": float((place == target).mean()), "macro_f1": macro_f1(place, target)}
    return found


def record_of(night: Night, rows: pl.DataFrame) -> dict[str, Any]:
    """Run the night and the peers, and return a line for each model."""
    verdict = night.judge()
    lines: dict[str, Any] = {}
    for model in verdict["models"]:
        role = f"{model['role']} {model['name']}" + (" (released)" if model["name"] == verdict["winner"] else "")
        told = {key: (model["metrics"] or {}).get(key) for key in ("accuracy", "macro_f1")}
        lines[role] = told | {"log_loss": model["error"], "bytes": model["bytes"]}
    latency = read_json(night.context.pages / "latency.json")
    return {"models": lines | peers(rows), "gates": latency["gates"], "reason": verdict["reason"]}


def main(
    name: Annotated[str, typer.Argument(help="banking77 or phrasebank")],
    data: Annotated[Path, typer.Option(help="Folder of the set's files.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    fold: Annotated[int, typer.Option(help="Of PhraseBank, 0 to 4.")] = 0,
) -> None:
    """Measure a set, and print the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = banking(data) if name == "banking77" else phrasebank(data, fold)
    label = name if name == "banking77" else f"{name}-{fold}"
    record = record_of(night_of(name, rows, out / label), rows)
    write(out / f"{label}.json", record)
    print(HEAD)
    for model, line in record["models"].items():
        told = [line.get(key) for key in ("accuracy", "macro_f1", "log_loss")]
        numbers = ["" if value is None else f"{value:.4f}" for value in told]
        print("| " + " | ".join([model, *numbers, f"{line['bytes']:,}" if line.get("bytes") else ""]) + " |")
    for gate in record["gates"]:
        print(f"{gate['model']}: p50 {gate['p50_us']:.0f} us at batch 1")


if __name__ == "__main__":
    typer.run(main)
