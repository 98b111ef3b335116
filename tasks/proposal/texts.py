"""The section for a table of texts with a label each."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from tasks.core.errors import DataError
from tasks.problems.text.checks import findings
from tasks.problems.text.options import Options
from tasks.proposal.blocks.columns import day_column, days_of, id_column, label_column, text_column
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import SCHEDULED, Proposal, alike, common, entropy, require_enough, widened

LEAST_ROWS = 10
LONGEST, MOST = 2000, 100_000
MOST_SEGMENTS = 20
SEGMENT_ROWS = 25


def of_table(name: str, seen: Look, path: str, target: str = "") -> Proposal:
    """Return the proposal for a table. `target`: the column with the labels, where it is said.

    Raises DataError when there are no texts, or no labels; UsageError when `target` is no column.
    """
    text = text_column(seen.rows)
    if text is None:
        raise DataError(f"{seen.path}: no column has texts of several words; columns: {', '.join(seen.rows.columns)}")
    label = label_column(seen, text, target)
    key = id_column(seen.rows, [text, label])
    day = day_column(seen.rows, [text, label, *([key] if key else [])])
    segments = _segments(seen, [text, label, key, day])
    labels, texts = seen.words(label), seen.words(text)
    require_enough(seen, labels.count(), f"texts with a {label}")
    counts = labels.drop_nulls().value_counts().sort(label)
    classes = counts[label].to_list()
    if len(classes) < 2:
        raise DataError(f"{seen.path}: {label} has {len(classes)} class(es); there must be two to tell apart")
    problem: dict[str, Any] = {
        "kind": "text", "text": text, "target": label, "classes": classes, **({"id": [key]} if key else {}),
        **({"time": day} if day else {}), **({"segments": segments} if segments else {}), **_lengths(texts),
        "buckets": 65536, "calibrate": "temperature",
    }  # fmt: skip
    said = [
        f"text: {text}",
        f"label: {label}, {len(classes)} classes: {_listed(counts)} (change: --target)",
        f"time: {day}: the latest rows are tested" if day else "time: none: a hash of a text says if it is tested",
    ]
    said += seen.said(day)
    if segments:
        said.append(f"errors are also told by: {', '.join(segments)} (problem.segments)")
    if not key:
        said.append("beware: no column identifies the rows (problem.id), so the watch cannot judge what was told")
    rare = int(counts["count"].min())  # type: ignore[arg-type]
    if rare < LEAST_ROWS:
        problem["least_rows"] = rare
        few = counts.filter(pl.col("count") < LEAST_ROWS)
        said.append(f"beware: so few rows teach nothing reliable: {_listed(few)}: least_rows: {rare}")
    if nulls := texts.null_count():
        said.append(f"beware: {nulls} rows have no {text}; validation refuses them: source.shape.filled: [{text}]")
    named = pl.DataFrame({text: texts, label: labels}).drop_nulls(text)
    options = Options.model_validate({key: value for key, value in problem.items() if key != "kind"})
    wider, beware = widened(findings(named, options))
    problem |= wider
    known = labels.drop_nulls()
    extra = {"shape": {"filled": [text]}} if nulls else {}
    section = _section(name, seen, seen.source(path, day, **extra), problem, entropy(known), segments)
    comments = {**SCHEDULED, "problem.longest": "characters; longer texts are refused",
                "gates.accuracy": "limit: the log loss of saying each class's share"}  # fmt: skip
    return Proposal(section, (*said, *beware, *alike(classes)), comments, _last(seen, day))


def _segments(seen: Look, without: Sequence[str | None]) -> list[str]:
    found = []
    for name, dtype in seen.rows.schema.items():
        if dtype == pl.String and name not in without and name != "label" and not name.startswith("_"):
            count = seen.rows[name].drop_nulls().n_unique()
            if 2 <= count <= MOST_SEGMENTS:
                found.append(name)
    return found


def _lengths(texts: pl.Series) -> dict[str, int]:
    """Return how much of a text is read, by what these texts have."""
    words = int(texts.str.count_matches(r"\w+|[^\w\s]").quantile(0.95) or 1)
    longest = int(texts.str.len_chars().max() or 1)  # type: ignore[arg-type]
    return {
        "words": min(256, max(16, -(-words // 16) * 16)),
        "length": min(1024, max(128, -(-8 * words // 64) * 64)),
        "longest": min(MOST, max(LONGEST, -(-2 * longest // 1000) * 1000)),
    }


def _listed(counts: pl.DataFrame, most: int = 8) -> str:
    lines = [f"{label} {count:,}" for label, count in counts.head(most).iter_rows()]
    return ", ".join(lines) + (" …" if counts.height > most else "")


def _last(seen: Look, day: str | None) -> date | None:
    if day is None:
        return None
    last = days_of(seen.rows, day).max()
    assert isinstance(last, date)
    return last


def _section(
    name: str, seen: Look, source: Mapping[str, Any], problem: Mapping[str, Any], limit: float, segments: list[str]
) -> dict[str, Any]:
    student = {
        "model": {"kind": "bag", "width": 24, "rows": 4093, "drop_tokens": 0.2, "dropout": 0.0},
        "training": {"epochs": 14, "batch_size": 64, "learning_rate": 0.008, "patience": 5},
    }
    return {
        **common(f"{problem['target']} of a text of {name}", seen.path.name),
        "source": dict(source),
        "problem": dict(problem),
        "checks": {},
        "teachers": {
            "linear": {"model": {"kind": "linear"}},
            "bag": {
                "model": {"kind": "bag", "width": 64, "rows": 16381, "drop_tokens": 0.4, "dropout": 0.2},
                "training": {"epochs": 8, "batch_size": 64, "learning_rate": 0.006, "patience": 3},
            },
        },
        "students": {
            "student": {**student, "alpha": 0.2, "temperature": 1.5}, "twin": {**student, "alpha": 1.0}
        },
        "prefer": "accuracy",
        "recipes": {"int8-weights": {"steps": [{"kind": "int8-weights"}]}},
        "gates": {
            "accuracy": {
                "limit": limit, "naive_margin": 0.05, "retention": 1.3, "champion_margin": 0.1, "max_gain": 0.999
            },
            "segments": {"by": ["label", *segments], "limit": 0.5, "min_rows": SEGMENT_ROWS},
            "size": {"max_bytes": 131_072},
            "latency": {"batch": 1, "threads": 1, "max_p50_ratio": 30, "max_p95_ratio": 50},
            "parity": {"tolerance": 0.05},
            "robustness": [
                {"kind": "typos", "level": 0.03, "limit": 2.5},
                {"kind": "drop", "level": 0.1, "limit": 2.5},
                {"kind": "case", "level": 1.0, "limit": 1.01},
            ],
        },
    }  # fmt: skip
