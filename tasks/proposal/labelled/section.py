"""The section for a table whose rows have a label."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import polars as pl

from tasks.problems.tabular.labelled.options import RESERVED
from tasks.proposal.blocks.columns import SAMPLE, days_of, most_days_without
from tasks.proposal.blocks.look import Look
from tasks.proposal.blocks.proposal import SCHEDULED, Proposal, common, require_enough
from tasks.proposal.labelled.roles import LEAST_ROWS, Columns, Inputs, columns_of
from tasks.proposal.labelled.task import Task, task_of
from tasks.tables.validation.options import CheckOptions

MOST_SEGMENTS, SEGMENT_ROWS = 20, 50
MOST_TOLD = 50  # values of a column that may tell the label by chance
TESTED = 0.15  # of the rows, unless problem.test_share says so
BINS, WIDTH, CODE = 16, 32, 4


def of_table(name: str, seen: Look, path: str, target: str = "", time: str = "") -> Proposal:
    """Return the proposal for a table. `target`, `time`: the label's column and that of the rows' day, if it is said.

    Raises DataError when no column can be predicted, or there is nothing to predict it from; UsageError when it must be
    said which column is meant.
    """
    columns = columns_of(seen, target, time)
    task = task_of(seen, columns.target)
    labelled = seen.rows.filter(pl.col(columns.target).is_not_null())
    require_enough(seen, labelled.height, f"rows with a {columns.target}")
    last, checks, beware = _checks(seen, columns.time)
    beware = [*task.beware, *beware]
    beware += [
        f"beware: {column} alone tells {columns.target}; if it is known only afterwards, take it out of problem"
        for column in _telling(labelled, columns)
    ]
    if not columns.id:
        rows = "their values say which rows are the same (problem.id)"
        beware.append(f"beware: no column identifies the rows: {rows}")
    comments = {**SCHEDULED, "gates.accuracy": f"limit: {task.limit_is}"}
    section = _section(name, seen, path, columns, task, checks, _segments(labelled, columns.inputs))
    return Proposal(
        section,
        (*_said(columns, task, seen.rows.height - labelled.height), *seen.said(columns.time), *beware),
        comments,
        last,
    )


def _said(columns: Columns, task: Task, without: int) -> Iterator[str]:
    """Yield what was guessed. `without`: rows that have no label."""
    yield f"target: {columns.target}, {columns.why}: {task.told} (change: --target, problem.task)"
    alone = f"rows of one {columns.group} stay together (problem.group)" if columns.group else "each row is for itself"
    yield f"id: {columns.id or 'none'}; {alone}"
    if columns.time:
        yield f"time: {columns.time}: the latest rows are tested (change: --time)"
    else:
        yield f"time: none: a hash of the {columns.group or 'row'} says if it is tested (change: --time)"
    yield from (f"{role}: {', '.join(names)}" for role, names in columns.inputs.by_role.items())
    if without:
        yield f"{without:,} rows have no {columns.target}: they are not learned from"
    if columns.inputs.left_out:
        yield "left out: " + ", ".join(f"{name} ({why})" for name, why in columns.inputs.left_out.items())


def _checks(seen: Look, time: str | None) -> tuple[date | None, dict[str, Any], list[str]]:
    """Return the last day, limits of the checks that the data pass as they are, and warnings."""
    if time is None:
        return None, {}, []
    days = days_of(seen.rows, time)
    last, gap = days.max(), most_days_without(days)
    assert isinstance(last, date)
    checks: dict[str, Any] = {"max_volume_ratio": 50}
    if gap <= CheckOptions().max_gap_days:
        return last, checks, []
    return last, {**checks, "max_gap_days": gap}, [f"beware: {gap} days in a row have no row: max_gap_days: {gap}"]


def _telling(rows: pl.DataFrame, columns: Columns) -> list[str]:
    """Return the columns of few values, each of which comes with one label alone."""
    found = []
    for name in (*columns.inputs.numbers, *columns.inputs.booleans, *columns.inputs.categories):
        values = rows.select(value=name, label=columns.target).drop_nulls("value")
        if 2 <= values["value"].n_unique() <= min(MOST_TOLD, len(values) / LEAST_ROWS):
            labels = values.group_by("value").agg(pl.col("label").n_unique())["label"]
            if labels.max() == 1:
                found.append(name)
    return found


def _segments(rows: pl.DataFrame, inputs: Inputs) -> list[str]:
    """Return the columns whose values, two of them at least, have rows enough to be judged among those tested."""
    found = []
    for name in (*inputs.categories, *inputs.booleans):
        counts = rows[name].drop_nulls().alias("value").value_counts()["count"]
        enough = int((counts >= SEGMENT_ROWS / TESTED).sum())
        if len(counts) <= MOST_SEGMENTS and enough >= 2:
            found.append(_renamed(name))
    return found


def _source(seen: Look, path: str, columns: Columns) -> dict[str, Any]:
    names = {_renamed(column): column for column in columns.used if _renamed(column) != column}
    options = {"until_as_of": True} if columns.time else {}
    return seen.source(path, columns.time, **options, **({"columns": names} if names else {}))


def _problem(columns: Columns, task: Task) -> dict[str, Any]:
    names = columns.inputs.by_role | ({"id": [columns.id]} if columns.id else {})
    single = {"time": columns.time, "group": columns.group}
    return {
        "kind": "tabular",
        "target": _renamed(columns.target),
        **task.options,
        **{role: [_renamed(column) for column in those] for role, those in names.items()},
        **{role: _renamed(column) for role, column in single.items() if column},
    }


def _renamed(column: str) -> str:
    """Return what a column is called in the section: some names are taken."""
    bare = column.lstrip("_") or "column"
    return f"{bare}_column" if bare in RESERVED else bare


def _section(
    name: str, seen: Look, path: str, columns: Columns, task: Task, checks: Mapping[str, Any], segments: list[str]
) -> dict[str, Any]:
    many = seen.rows.height > SAMPLE
    batch = 128 if many else 32
    inputs = columns.inputs
    width = BINS * len(inputs.numbers) + CODE * len(inputs.categories)
    student: dict[str, Any] = {
        "model": {"kind": "mlp", "hidden": [WIDTH], "bins": BINS, "embedding": 2},
        "training": {
            "epochs": 30, "batch_size": batch, "learning_rate": 0.005, "weight_decay": 0.01, "patience": 6
        },
    }  # fmt: skip
    made = {"kind": "mixed", "rows": max(2000, min(50_000, 5 * seen.rows.height)), "share": 1.0}
    disturbed = ["noise", "missing", "shift"] if inputs.numbers else ["missing"]
    if inputs.categories:
        disturbed.append("unseen")
    return {
        **common(f"{columns.target} of a row of {name}", seen.path.name),
        "source": _source(seen, path, columns),
        "problem": _problem(columns, task),
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
                "limit": task.limit, "naive_margin": 0.05, "retention": 1.1, "champion_margin": 0.05, "max_gain": 0.99
            },
            "segments": {"by": segments, "limit": 0.3, "min_rows": SEGMENT_ROWS},
            "size": {"max_bytes": 2 ** max(16, (4 * width * WIDTH).bit_length() + 1)},
            "latency": {"batch": 1, "threads": 1, "max_p50_ratio": 30, "max_p95_ratio": 50},
            "parity": {"tolerance": 0.05},
            "robustness": [{"kind": kind, "level": 0.05, "limit": 2.5} for kind in disturbed],
        },
    }  # fmt: skip
