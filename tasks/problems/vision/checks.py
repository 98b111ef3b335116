"""Rows can be valid one by one and wrong together: this module measures what only files, or all of them, tell."""

from collections import Counter
from collections.abc import Iterator
from datetime import date

import polars as pl

from tasks.problems.base import Finding
from tasks.problems.vision.files import LABELS, known, named, parts
from tasks.problems.vision.options import Options
from tasks.tables.table import Tables


def findings(tables: Tables, options: Options, as_of: date) -> Iterator[Finding]:
    """Yield shares: of unreadable files, of unknown labels, of equal images with other labels; and the rarest class."""
    count, bad, conflicts = 0, 0, 0
    example: dict[str, object] = {}
    pair: dict[str, object] = {}
    labels: Counter[str] = Counter()
    seen: dict[str, tuple[str, dict[str, object]]] = {}
    for part in parts(known(tables[LABELS], options, as_of), options):
        there = options.label in part.rows.columns
        for row, fault, digest in zip(part.rows.iter_rows(named=True), part.faults, part.digests, strict=True):
            count += 1
            if fault:
                bad += 1
                example = example or {**named(row, options), "fault": fault}
                continue
            label = row[options.label] if there else None
            if label is None:
                continue
            labels[label] += 1
            first = seen.setdefault(digest, (label, named(row, options)))
            if first[0] != label:
                conflicts += 1
                pair = pair or {**named(row, options), "label": label, "first": f"{first[0]} of {first[1]}"}
    total = max(1, sum(labels.values()))
    rule = "share of files that cannot be read"
    yield Finding(LABELS, options.image, rule, bad / max(1, count), options.max_unreadable, example, "max_unreadable")
    unknown = {label: number for label, number in labels.items() if label not in options.classes}
    other = {"label": next(iter(unknown))} if unknown else {}
    rule = "share of labels that are none of problem.classes"
    yield Finding(LABELS, options.label, rule, sum(unknown.values()) / total, 0.0, other)
    rule = "share of images that are there before with another label"
    yield Finding(LABELS, options.label, rule, conflicts / total, options.max_conflicts, pair, "max_conflicts")
    rare = min(options.classes, key=lambda name: labels[name])
    lost = options.min_share - labels[rare] / total
    rule = f"what the rarest class lacks of {options.min_share:g} of the rows"
    yield Finding(LABELS, options.label, rule, lost, 0.0, {"class": rare, "rows": labels[rare]})


def label_numbers(labels: pl.Series, options: Options) -> pl.Series:
    """Return the number of each label's class, null where it is none."""
    numbers = {name: place for place, name in enumerate(options.classes)}
    return labels.cast(pl.String).replace_strict(numbers, default=None, return_dtype=pl.Int64)
