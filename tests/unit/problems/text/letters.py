"""Made-up letters of three kinds, in two languages, some of them without a label."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.text.dataset import Texts
from tasks.problems.text.problem import Text

AS_OF = date(2026, 6, 30)
OPTIONS: dict[str, Any] = {
    "kind": "text", "classes": ["order", "refund", "other"], "other": "other", "id": ["letter"],
    "segments": ["language"], "buckets": 4096, "length": 96, "words": 16, "longest": 300, "max_conflicts": 0.2,
}  # fmt: skip
SAID = {
    ("order", "en"): ("where is my parcel", "my order has not come", "when does the parcel arrive"),
    ("order", "de"): ("wo ist mein Paket", "meine Bestellung fehlt", "wann kommt das Paket"),
    ("refund", "en"): ("give me my money back", "i want a refund", "the refund is late"),
    ("refund", "de"): ("ich will mein Geld zurück", "wo bleibt die Erstattung", "das Geld fehlt"),
    ("other", "en"): ("tell me a joke", "who won the game", "is it going to rain"),
    ("other", "de"): ("erzähl einen Witz", "wer hat gewonnen", "wird es regnen"),
}
WORDS = ("today", "now", "please", "bitte", "Köln", "42", "again", "heute", "sofort", "thanks", "£5", "ok")


def letters(count: int = 360) -> pl.DataFrame:
    """Every tenth letter has no label, and of the others a twelfth a mistaken one."""
    rng = np.random.default_rng(11)
    kinds = sorted(SAID)
    rows = []
    for number in range(count):
        label, language = kinds[int(rng.integers(len(kinds)))]
        said = SAID[label, language]
        words = [WORDS[int(place)] for place in rng.integers(len(WORDS), size=3)]
        text = " ".join([said[int(rng.integers(len(said)))], *words])
        day = AS_OF - timedelta(days=(count - number) // 4)
        label = sorted({kind for kind, _ in kinds})[int(rng.integers(3))] if rng.random() < 1 / 8 else label
        rows.append((f"l{number:04d}", day, language, text, None if number % 10 == 9 else label))
    return pl.DataFrame(rows, ["letter", "day", "language", "text", "label"], orient="row")


def problem(**changes: Any) -> Text:
    built = get_problem(Spec(**{**OPTIONS, **changes}))
    assert isinstance(built, Text)
    return built


def dataset(table: pl.DataFrame | None = None, **changes: Any) -> Texts:
    rows = letters() if table is None else table
    built = problem(**changes).features({"rows": rows.lazy()}, AS_OF)
    assert isinstance(built, Texts)
    return built
