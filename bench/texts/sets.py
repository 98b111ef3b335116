"""Published sets of texts, dealt into rows that train, validate and are tested."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from serving.contract.tokens import words_of
from tasks.core.errors import DataError

FOLDS, VALID = 5, 6


@dataclass(frozen=True)
class Textset:
    """A set has `rows(folder, part)`: text, label and split; `parts`: what is measured, and their `name` in a table.

    A part is a fold of PhraseBank, which has other test rows; of the others it is a seed of training.
    """

    about: str
    name: str
    parts: int
    rows: Callable[[Path, int], pl.DataFrame]


def banking(data: Path, _seed: int) -> pl.DataFrame:
    """Return text, label and split; every sixth training row of a shuffled class validates."""
    train, test = (_read(data, f"banking77_{name}") for name in ("train", "test"))
    return pl.concat(
        [_with_valid(train.select("text", "label")), test.select("text", "label", pl.lit("test").alias("split"))]
    )


def phrasebank(data: Path, fold: int) -> pl.DataFrame:
    """Return text, label and split of one of FOLDS folds: of each class as many rows, equal texts in one."""
    rows = _read(data, "financial_phrasebank").select(text="Text", label="Sentiment")
    return _fold(rows, fold)


def amazon(data: Path, _seed: int) -> pl.DataFrame:
    """Return text, label and split; a fifth is tested, equal texts in one split."""
    rows = _read(data, "amazon_reviews_20k").select(
        text="reviewText", label=pl.when(pl.col("Positive") == 1).then(pl.lit("positive")).otherwise(pl.lit("negative"))
    )
    return _fold(rows, 0)


def _read(data: Path, name: str) -> pl.DataFrame:
    found = sorted(data.rglob(f"{name}.parquet"))
    if not found:
        raise DataError(f"--data: there is no {name}.parquet below {data}; name the --set that you have")
    return pl.read_parquet(found[0])


def _fold(rows: pl.DataFrame, fold: int) -> pl.DataFrame:
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


SETS = {
    "banking77": Textset("what customers ask a bank, 77 intents; its own test rows", "seed", 3, banking),
    "phrasebank": Textset("moods of sentences of financial news; five stratified folds", "fold", FOLDS, phrasebank),
    "amazon": Textset("whether a review of an app is positive; a fifth is tested", "seed", 1, amazon),
}
