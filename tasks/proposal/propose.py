"""Which kind of learning a newcomer's data are for, and the section for it."""

from pathlib import Path

import polars as pl

from tasks.core.errors import UsageError
from tasks.proposal import events, images, texts
from tasks.proposal.blocks.columns import ITEMS, USERS, called, image_column, is_named_label, label_columns, text_column
from tasks.proposal.blocks.look import Look, look
from tasks.proposal.blocks.proposal import Proposal
from tasks.proposal.forecasting.reasons import comments_of, reasons_of
from tasks.proposal.forecasting.roles import TARGETS
from tasks.proposal.forecasting.section import section_of
from tasks.proposal.forecasting.seen import Asked, see
from tasks.proposal.forecasting.time import has_time
from tasks.proposal.kind import Kind
from tasks.proposal.labelled.roles import is_outcome, label_of
from tasks.proposal.labelled.section import of_table as rows_with_label

UNASKED = Asked()
LEAST_NUMBERS = 2  # beside an outcome, for a column of words to be no text
WHY: dict[Kind, str] = {
    "forecasting": "a time and numbers",
    "vision": "images",
    "text": "texts with labels",
    "ranking": "users, items and a time",
    "tabular": "a label of each row",
}


def propose(name: str, table: Path, project: Path, kind: Kind | None = None, asked: Asked = UNASKED) -> Proposal:
    """Return the section of the workload `name` for a file, or for a folder of images. `kind`: None: it is guessed.

    Paths within `project` are written relative to it. Raises DataError when the data are of none of these kinds,
    UsageError when it must be said what is meant.
    """
    full, project = table.absolute(), project.absolute()
    path = str(full.relative_to(project) if full.is_relative_to(project) else full)
    if table.is_dir():
        if kind not in (None, "vision"):
            raise UsageError(f"--kind {kind}: {table} is a folder, and of folders only images are read (vision)")
        return images.of_folder(name, table, path)
    seen = look(table)
    kind = kind or guess(seen, asked)
    match kind:
        case "vision":
            image = image_column(seen.rows)
            if image is None:
                raise UsageError(f"--kind vision: no column of {table} holds images, or names them")
            found = images.of_table(name, seen, path, project, image, asked.target)
        case "text":
            found = texts.of_table(name, seen, path, asked.target)
        case "ranking":
            found = events.of_table(name, seen, path, asked.time)
        case "tabular":
            found = rows_with_label(name, seen, path, asked.target, asked.time)
        case _:
            forecast = see(seen, asked)
            section, comments = section_of(name, path, forecast), comments_of(forecast)
            return Proposal(section, tuple(reasons_of(forecast)), comments, forecast.as_of)
    said = f"kind: {kind}, by {WHY[kind]} (change: --kind)"
    return Proposal(found.section, (said, *found.reasons), found.comments, found.as_of)


def guess(seen: Look, asked: Asked) -> Kind:
    """Return the kind of learning: images and names of users and items are unmistakable, then come texts with labels.

    What only a forecast has (a series, a horizon, a season) says that it is one. Rows without a time have a label each;
    so have others whose target is no number, or is called like what became of them.
    """
    rows = seen.rows
    if asked.series is not None or asked.horizon or asked.season:
        return "forecasting"
    if image_column(rows) is not None:
        return "vision"
    if called(rows, USERS) and called(rows, ITEMS):
        return "ranking"
    target = asked.target if asked.target in rows.columns else label_of(rows)
    timed = bool(asked.time) or has_time(rows)
    outcome = target is not None and is_outcome(rows, target)
    # A sum or count over time is forecast, whatever else a row says; a name or an address beside numbers is no text.
    of_rows = outcome and (asked.target == target or not timed or called(rows, TARGETS) is None)
    if of_rows and sum(dtype.is_numeric() for name, dtype in rows.schema.items() if name != target) >= LEAST_NUMBERS:
        return "tabular"
    if _is_of_texts(rows, asked):
        return "text"
    no_number = asked.target in rows.columns and not rows.schema[asked.target].is_numeric()
    return "tabular" if not timed or of_rows or no_number else "forecasting"


def _is_of_texts(rows: pl.DataFrame, asked: Asked) -> bool:
    text = text_column(rows)
    if text is None:
        return False
    if asked.target in rows.columns:  # the section's own kind refuses a column that is not
        return not _is_measured(rows[asked.target])
    labels = label_columns(rows, [text])
    return bool(labels) and (is_named_label(labels[0]) or not has_time(rows))


def _is_measured(values: pl.Series) -> bool:
    return values.dtype.is_float()
