"""What is predicted of a row: yes or no, a class or a value, by what its label looks like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tasks.core.errors import DataError
from tasks.proposal.blocks.columns import LABELS, plain
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import alike, entropy
from tasks.proposal.blocks.written import with_unit
from tasks.proposal.labelled.roles import LEAST_ROWS, OUTCOMES, is_truth, is_whole

LABEL = "label"  # a column may be called `count`, as polars calls what it counts
YES = ("yes", "y", "1", "true", "positive", "ja", "oui", "si")
MOST_CLASSES, MOST_GRADES = 100, 10


@dataclass(frozen=True)
class Task:
    """What is predicted: `options` of the problem, what is `told` of them, and the error that no model may exceed."""

    options: Mapping[str, Any]
    told: str
    limit: float
    limit_is: str = "the log loss of saying each class's share"
    beware: Sequence[str] = ()


def task_of(seen: Look, target: str) -> Task:
    """Return the task of a table's `target`. Raises DataError when it has too many texts to be classes."""
    values, words = seen.rows[target].drop_nulls(), seen.words(target).drop_nulls().alias(LABEL)
    counts = words.value_counts().sort("count", LABEL)
    number, whole = values.dtype.is_numeric(), values.dtype.is_numeric() and is_whole(values)
    if counts.height == 2 and (whole or not number):
        return _yes_no(words, counts)
    if number and not (whole and counts.height <= MOST_GRADES and plain(target) in (*OUTCOMES, *LABELS)):
        finite = values.cast(pl.Float64)
        finite = finite.filter(finite.is_finite())
        least, spread = finite.min(), finite.std()
        assert isinstance(least, float) and isinstance(spread, float)
        options = {"task": "value", **({"low": 0} if least >= 0 else {})}
        return Task(options, "a value", float(f"{spread:.2g}"), "the deviation of the values")
    if counts.height > min(MOST_CLASSES, len(words) / LEAST_ROWS):
        if unit := with_unit(words):
            raise DataError(f"{seen.path}: {target} has {unit}")
        raise DataError(
            f"{seen.path}: {target} has {counts.height:,} different texts in {len(words):,} rows, too many for "
            "classes; name another column: --target"
        )
    classes = sorted(counts[LABEL])
    rare = counts.filter(pl.col("count") < LEAST_ROWS)[LABEL].to_list()
    beware = [f"beware: so few rows teach nothing reliable: {', '.join(rare)}"] if rare else []
    told = f"{len(classes)} classes: {', '.join(classes[:8])}{' …' if len(classes) > 8 else ''}"
    options = {"task": "classes", "classes": classes, "calibrate": "temperature"}
    return Task(options, told, entropy(words), beware=(*beware, *alike(classes)))


def _yes_no(words: pl.Series, counts: pl.DataFrame) -> Task:
    """Return the task of two labels, by their rows, the rarer one first."""
    options, labels = {"task": "yes-no", "calibrate": "temperature"}, counts[LABEL].to_list()
    if is_truth(words):
        return Task(options, "yes or no", entropy(words))
    likely = [label for label in labels if label.casefold() in YES]
    positive = likely[0] if len(likely) == 1 else labels[0]
    share = float((words == positive).mean() or 0)
    told = f"yes-no, yes is {positive!r}, {share:.1%} (problem.positive)"
    return Task({**options, "positive": positive}, told, entropy(words), beware=alike(labels))
