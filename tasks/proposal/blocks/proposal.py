"""What `nightstill new` says of a newcomer's data: a section, why it is so, and the day that the data reach."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from tasks.core.errors import DataError
from tasks.problems.base import Finding
from tasks.proposal.blocks.look import Look

SPARE = 1.5
"""A share that the data have today may grow by so much."""
LEAST_ROWS = 50
"""With fewer there is nothing to learn from, to choose by and to test on."""


@dataclass(frozen=True)
class Proposal:
    """A Proposal is a workload's `section`. `comments`: dotted field -> what is said behind it.

    `reasons`: a line each of what was guessed and why. `as_of`: the last day of the data; None: rows have no day.
    """

    section: Mapping[str, Any]
    reasons: tuple[str, ...]
    comments: Mapping[str, str] = field(default_factory=dict)
    as_of: date | None = None


SCHEDULED = {
    "schedule": "every day at 5; write another cron expression",
    "timezone": "of the schedule, of moments and of holidays",
}


def common(title: str, file: str, zone: str = "UTC") -> dict[str, Any]:
    """Return the fields with which every section begins."""
    return {
        "title": title,
        "description": f"Proposed by `nightstill new` for {file}.",
        "schedule": "0 5 * * *",
        "timezone": zone,
        "folds": 2,
        "ensemble": "validation",
    }


def require_enough(seen: Look, count: int, what: str) -> None:
    """Refuse data of too few rows, `count` of `what`. Raises DataError."""
    if count < LEAST_ROWS:
        raise DataError(
            f"{seen.path}: {count} {what}; at least {LEAST_ROWS} are needed to learn from, to choose by and to test on"
        )


def widened(findings: Iterable[Finding]) -> tuple[dict[str, float], list[str]]:
    """Return options of a problem by which its checks pass on these data, and a warning of each that had to give way.

    Otherwise the first night would stop for what the data have been like all along.
    """
    options: dict[str, float] = {}
    said = []
    for found in findings:
        if not found.option or found.value <= found.high:
            continue
        options[found.option] = float(f"{min(SPARE * found.value, 0.9):.2g}")
        example = ", ".join(f"{name} {value}" for name, value in found.example.items())
        such = f", such as {example}" if example else ""
        limit = f"{found.option}: {options[found.option]}"
        said.append(f"beware: {found.rule}: {found.value:.2g}{such}: {limit}; mend the data, or keep it")
    return options, said


def alike(labels: Iterable[str]) -> list[str]:
    """Return a warning for labels that differ in capitals and blanks alone: these are as many classes."""
    by_word: dict[str, list[str]] = {}
    for label in labels:
        by_word.setdefault(" ".join(label.split()).casefold(), []).append(label)
    return [
        f"beware: {' and '.join(map(repr, same))} are different classes; write them alike if they are one"
        for same in by_word.values()
        if len(same) > 1
    ]


def entropy(labels: pl.Series) -> float:
    """Return the log loss of saying each class's share, in two digits rounded up: what no model may exceed."""
    shares = labels.value_counts()["count"] / max(1, labels.len())
    return float(f"{-float((shares * shares.log()).sum()) + 0.005:.2f}")
