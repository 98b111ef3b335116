"""The section for a table whose rows have a label: a class or a value that their other columns tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.problems.tabular.labelled.options import RESERVED
from tasks.proposal.blocks.columns import (
    LABELS,
    SAMPLE,
    USERS,
    called,
    days_of,
    id_column,
    is_days,
    is_named_id,
    most_days_without,
    plain,
    text_column,
)
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import SCHEDULED, Proposal, alike, common, entropy
from tasks.tables.validation.options import CheckOptions

OUTCOMES = (
    "churn", "churned", "attrition", "exited", "left", "outcome", "converted", "conversion", "bought", "purchased",
    "subscribed", "default", "defaulted", "fraud", "isfraud", "fraudulent", "cancelled", "canceled", "survived",
    "approved", "accepted", "failed", "failure", "returned", "diagnosis", "response", "clicked", "status",
)  # fmt: skip
"""Names of what became of a row, the likeliest first."""
VALUES = ("price", "value", "quality", "amount", "cost", "salary", "income", "revenue")
"""Names of what a row is worth: they are read as labels where no outcome is there."""
TIMES = ("date", "day", "time", "timestamp", "datetime", "created", "createdat", "month", "snapshotdate", "asof")
YES = ("yes", "y", "1", "true", "positive", "ja", "oui", "si")
TRUTH = {"true", "false"}
MOST_CLASSES, MOST_GRADES = 100, 10
LEAST_ROWS = 5  # with a value of a category, as its code book asks
KNOWN = 0.5  # of the rows of a text, that must have such a value
MOST_VALUES = 1000
MOST_SEGMENTS, SEGMENT_ROWS = 20, 50
MOST_TOLD = 50  # values of a column that may tell the label by chance
TESTED = 0.15  # of the rows, unless problem.test_share says so
BINS, WIDTH, CODE = 16, 32, 4


@dataclass
class Roles:
    """The columns of a file by what they are. `left_out`: column -> why."""

    numbers: list[str] = field(default_factory=list)
    booleans: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def label_of(rows: pl.DataFrame) -> str | None:
    """Return the column that is called like a label, one of outcomes before one of values. None without any."""
    usable = [name for name, values in rows.to_dict().items() if values.drop_nulls().n_unique() > 1]
    by_word = {re.sub(r"^(is|has)(?=...)", "", plain(name)): name for name in usable}
    named = called(rows.select(usable), (*OUTCOMES, *LABELS, *VALUES))
    return named or next((by_word[word] for word in OUTCOMES if word in by_word), None)


def is_outcome(rows: pl.DataFrame, column: str) -> bool:
    """Return whether a column says what became of a row: by its name, and no measured number."""
    word = re.sub(r"^(is|has)(?=...)", "", plain(column))
    return not rows.schema[column].is_float() and not {plain(column), word}.isdisjoint(OUTCOMES)


def of_table(name: str, seen: Look, path: str, target: str = "", time: str = "") -> Proposal:
    """Return the proposal for a table. `target`, `time`: the label's column and that of the rows' day, if it is said.

    Raises DataError when no column can be predicted, or there is nothing to predict it from; UsageError when it must be
    said which column is meant.
    """
    target, said_why = _target(seen, target)
    labelled = seen.rows.filter(pl.col(target).is_not_null())
    when = _time(seen, target, time)
    taken = [target, *([when] if when else [])]
    key = id_column(seen.rows, taken)
    group = _group(seen.rows, [*taken, *([key] if key else [])])
    roles = _roles(seen.rows, [*taken, *(each for each in (key, group) if each)])
    if not (roles.numbers or roles.booleans or roles.dates or roles.categories):
        others = "; ".join(f"{column} {why}" for column, why in roles.left_out.items()) or "there is no other column"
        raise DataError(f"{seen.path}: there is nothing to predict {target} from: {others}")
    task, told, limit, beware = _task(seen, target)
    ours = {column: _renamed(column) for column in seen.rows.columns}
    fields = {
        "numbers": roles.numbers, "booleans": roles.booleans, "dates": roles.dates, "categories": roles.categories,
        "id": [key] if key else [],
    }  # fmt: skip
    problem: dict[str, Any] = {
        "kind": "tabular", "target": ours[target], **task,
        **{role: [ours[column] for column in columns] for role, columns in fields.items() if columns},
        **({"time": ours[when]} if when else {}), **({"group": ours[group]} if group else {}),
        **({} if task["task"] == "value" else {"calibrate": "temperature"}),
    }  # fmt: skip
    used = [*taken, *(each for each in (key, group) if each), *roles.numbers, *roles.booleans, *roles.dates]
    columns = {ours[column]: column for column in (*used, *roles.categories) if ours[column] != column}
    options = {"until_as_of": True} if when else {}
    source = seen.source(path, **options, **({"columns": columns} if columns else {}))
    last, checks = None, {}
    if when:
        days = days_of(seen.rows, when)
        last = days.max()
        assert isinstance(last, date)
        checks = {"max_volume_ratio": 50}
        if (gap := most_days_without(days)) > CheckOptions().max_gap_days:
            checks["max_gap_days"] = gap
            beware.append(f"beware: {gap} days in a row have no row: max_gap_days: {gap}")
    beware += [
        f"beware: {column} alone tells {target}; if it is known only afterwards, take it out of problem"
        for column in _tells(labelled, target, [*roles.numbers, *roles.booleans, *roles.categories])
    ]
    if not key:
        rows = "their values say which rows are the same (problem.id)"
        beware.append(f"beware: no column identifies the rows: {rows}")
    known_by = f"id: {key}" if key else "id: none"
    said = [
        f"target: {target}, {said_why}: {told} (change: --target, problem.task)",
        f"{known_by}; {f'rows of one {group} stay together (problem.group)' if group else 'each row is for itself'}",
        f"time: {when}: the latest rows are tested (change: --time)"
        if when
        else f"time: none: a hash of {'a ' + group if group else 'a row'} says if it is tested (change: --time)",
        *(f"{role}: {', '.join(columns)}" for role, columns in fields.items() if columns and role != "id"),
    ]
    if without := seen.rows.height - labelled.height:
        said.append(f"{without:,} rows have no {target}: they are not learned from")
    if roles.left_out:
        said.append("left out: " + ", ".join(f"{column} ({why})" for column, why in roles.left_out.items()))
    comments = {**SCHEDULED, "gates.accuracy": f"limit: {limit[1]}"}
    section = _section(name, seen, source, problem, checks, limit[0], _segments(labelled, roles, ours))
    return Proposal(section, (*said, *beware), comments, last)


def _target(seen: Look, asked: str) -> tuple[str, str]:
    """Return the column to predict and why it is the one."""
    rows = seen.rows
    if asked:
        if asked not in rows.columns:
            raise UsageError(f"--target {asked}: the table has no such column; it has: {', '.join(rows.columns)}")
        if rows[asked].drop_nulls().n_unique() < 2:
            raise DataError(f"{seen.path}: {asked} has fewer than two values; there is nothing to tell apart")
        return asked, "as you said"
    found = label_of(rows)
    if found is None:
        there = ", ".join(rows.columns)
        raise UsageError(f"{seen.path}: no column is called like a label; say which: --target COLUMN, one of: {there}")
    return found, "by its name"


def _time(seen: Look, target: str, asked: str) -> str | None:
    """Return the column with each row's day: the one that is asked for, or called so."""
    if asked and (asked not in seen.rows.columns or asked == target):
        there = ", ".join(column for column in seen.rows.columns if column != target)
        raise UsageError(f"--time {asked}: the table has no such column; it has: {there}")
    found = asked or called(seen.rows.drop(target), TIMES)
    if found is not None and is_days(seen.rows[found]) and not seen.rows[found].null_count():
        return found
    if asked:
        raise DataError(f"{seen.path}: {asked} is not a whole day in each row, written as YYYY-MM-DD")
    return None


def _group(rows: pl.DataFrame, without: list[str]) -> str | None:
    """Return the column of users who have several rows: these must not be tested on what was learned of them."""
    found = called(rows.drop(without), USERS)
    if found is None or rows[found].null_count() or not (rows.schema[found] == pl.String or _whole(rows[found])):
        return None
    return found if rows[found].n_unique() < rows.height else None


def _roles(rows: pl.DataFrame, without: list[str]) -> Roles:
    found = Roles()
    text = text_column(rows.drop(without))
    for name, dtype in rows.drop(without).schema.items():
        values = rows[name].drop_nulls()
        count = values.n_unique()
        if count < 2:
            found.left_out[name] = "has one value" if count else "has no value"
        elif dtype == pl.Boolean or (dtype == pl.String and _is_truth(values)):
            found.booleans.append(name)
        elif is_days(values):
            found.dates.append(name)
        elif dtype.is_temporal():
            found.left_out[name] = "moments; write days"
        elif dtype.is_numeric():
            if is_named_id(name) and _whole(values) and count == len(values):
                found.left_out[name] = "identifies rows"
            else:
                found.numbers.append(name)
        elif dtype != pl.String:
            found.left_out[name] = f"{dtype}: neither number nor text"
        elif not _is_category(values):
            found.left_out[name] = "texts; see --kind text" if name == text else f"{count:,} different texts"
        else:
            found.categories.append(name)
    return found


def _is_truth(values: pl.Series) -> bool:
    return set(values.str.to_lowercase().unique()) <= TRUTH


def _is_category(values: pl.Series) -> bool:
    """Return whether most rows have a value that comes often enough to be learned from."""
    counts = values.value_counts()["count"]
    often = counts.filter(counts >= LEAST_ROWS)
    return len(often) <= MOST_VALUES and float(often.sum()) >= KNOWN * len(values)


def _whole(values: pl.Series) -> bool:
    return values.dtype.is_integer() or (values.dtype.is_float() and bool((values == values.floor()).all()))


def _task(seen: Look, target: str) -> tuple[dict[str, Any], str, tuple[float, str], list[str]]:
    """Return the task's options, a word of it, the accuracy's limit and what it is, and warnings."""
    values = seen.rows[target].drop_nulls()
    words = seen.words(target).drop_nulls()
    counts = words.value_counts().sort("count", words.name)
    named = {plain(target)} <= {*OUTCOMES, *LABELS}
    number = values.dtype.is_numeric()
    grades = number and _whole(values) and counts.height <= MOST_GRADES and named
    if counts.height == 2 and (not number or _whole(values)):
        naive = entropy(words), "the log loss of saying each class's share"
        if _is_truth(words):
            return {"task": "yes-no"}, "yes or no", naive, []
        likely = counts.filter(pl.col(words.name).str.to_lowercase().is_in(YES))[words.name].to_list()
        positive = likely[0] if len(likely) == 1 else counts[words.name][0]
        share = float((words == positive).mean() or 0)  # type: ignore[arg-type]
        told = f"yes-no, yes is {positive!r}, {share:.1%} (problem.positive)"
        return {"task": "yes-no", "positive": positive}, told, naive, alike(counts[words.name])
    if number and not grades:
        least, spread = values.cast(pl.Float64).min(), values.cast(pl.Float64).std()
        assert isinstance(least, float) and isinstance(spread, float)
        task: dict[str, Any] = {"task": "value", **({"low": 0} if least >= 0 else {})}
        return task, "a value", (float(f"{spread:.2g}"), "the deviation of the values"), []
    if counts.height > min(MOST_CLASSES, len(words) / LEAST_ROWS):
        raise DataError(
            f"{seen.path}: {target} has {counts.height:,} different texts in {len(words):,} rows, too many for "
            "classes; name another column: --target"
        )
    classes = sorted(counts[words.name])
    rare = counts.filter(pl.col("count") < LEAST_ROWS)[words.name].to_list()
    beware = [f"beware: so few rows teach nothing reliable: {', '.join(rare)}"] if rare else []
    naive = entropy(words), "the log loss of saying each class's share"
    told = f"{len(classes)} classes: {', '.join(classes[:8])}{' …' if len(classes) > 8 else ''}"
    return {"task": "classes", "classes": classes}, told, naive, [*beware, *alike(classes)]


def _tells(rows: pl.DataFrame, target: str, columns: list[str]) -> list[str]:
    """Return the columns of few values, each of which comes with one label alone."""
    found = []
    for name in columns:
        values = rows.select(value=name, label=target).drop_nulls("value")
        count = values["value"].n_unique()
        if 2 <= count <= min(MOST_TOLD, len(values) / LEAST_ROWS):
            labels = values.group_by("value").agg(pl.col("label").n_unique())["label"]
            if labels.max() == 1:
                found.append(name)
    return found


def _segments(rows: pl.DataFrame, roles: Roles, ours: Mapping[str, str]) -> list[str]:
    """Return the columns whose values, two of them at least, have rows enough to be judged among those tested."""
    found = []
    for name in (*roles.categories, *roles.booleans):
        counts = rows[name].drop_nulls().value_counts()["count"]
        enough = int((counts >= SEGMENT_ROWS / TESTED).sum())
        if len(counts) <= MOST_SEGMENTS and enough >= 2:
            found.append(ours[name])
    return found


def _renamed(column: str) -> str:
    """Return what a column is called in the section: some names are taken."""
    bare = column.lstrip("_") or "column"
    return f"{bare}_column" if bare in RESERVED else bare


def _section(
    name: str,
    seen: Look,
    source: Mapping[str, Any],
    problem: Mapping[str, Any],
    checks: Mapping[str, Any],
    limit: float,
    segments: list[str],
) -> dict[str, Any]:
    many = seen.rows.height > SAMPLE
    batch = 128 if many else 32
    width = BINS * len(problem.get("numbers", ())) + CODE * len(problem.get("categories", ()))
    student: dict[str, Any] = {
        "model": {"kind": "mlp", "hidden": [WIDTH], "bins": BINS, "embedding": 2},
        "training": {
            "epochs": 30, "batch_size": batch, "learning_rate": 0.005, "weight_decay": 0.01, "patience": 6
        },
    }  # fmt: skip
    made = {"kind": "mixed", "rows": max(2000, min(50_000, 5 * seen.rows.height)), "share": 1.0}
    disturbed = ["noise", "missing", "shift"] if problem.get("numbers") else ["missing"]
    if problem.get("categories"):
        disturbed.append("unseen")
    return {
        **common(f"{problem['target']} of a row of {name}", seen.path.name),
        "source": dict(source),
        "problem": dict(problem),
        "checks": dict(checks),
        "teachers": {
            "lightgbm": {
                "model": {
                    "kind": "lightgbm", "trees": 600, "leaves": 15, "learning_rate": 0.05,
                    "min_leaf": 20 if many else 5,
                }
            },
            "mlp": {
                "model": {"kind": "mlp", "hidden": [64, 64], "bins": BINS, "embedding": CODE, "dropout": 0.1},
                "training": {
                    "epochs": 25, "batch_size": batch, "learning_rate": 0.003, "weight_decay": 0.01, "patience": 5
                },
            },
        },
        "students": {
            "student": {**student, "alpha": 0.3, "augment": made},
            "twin": {**student, "alpha": 1.0},
        },
        "prefer": "accuracy",
        "recipes": {"int8-weights": {"steps": [{"kind": "int8-weights"}]}},
        "gates": {
            "accuracy": {
                "limit": limit, "naive_margin": 0.05, "retention": 1.1, "champion_margin": 0.05, "max_gain": 0.99
            },
            "segments": {"by": segments, "limit": 0.3, "min_rows": SEGMENT_ROWS},
            "size": {"max_bytes": 2 ** max(16, (4 * width * WIDTH).bit_length() + 1)},
            "latency": {"batch": 1, "threads": 1, "max_p50_ratio": 30, "max_p95_ratio": 50},
            "parity": {"tolerance": 0.05},
            "robustness": [{"kind": kind, "level": 0.05, "limit": 2.5} for kind in disturbed],
        },
    }  # fmt: skip
