"""Which kind of learning a newcomer's data are for, and the section for it."""

from pathlib import Path

import polars as pl

from tasks.core.errors import UsageError
from tasks.proposal import events, images, texts
from tasks.proposal.blocks.columns import ITEMS, USERS, called, image_column, is_named_label, label_columns, text_column
from tasks.proposal.blocks.look import Look, look
from tasks.proposal.blocks.proposal import Proposal
from tasks.proposal.forecasting.reasons import comments_of, reasons_of
from tasks.proposal.forecasting.section import section_of
from tasks.proposal.forecasting.seen import Asked, see
from tasks.proposal.forecasting.time import has_time
from tasks.proposal.kind import Kind

UNASKED = Asked()
WHY: dict[Kind, str] = {
    "forecasting": "a time and numbers",
    "vision": "images",
    "text": "texts with labels",
    "ranking": "users, items and a time",
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
        case _:
            forecast = see(seen, asked)
            section, comments = section_of(name, path, forecast), comments_of(forecast)
            return Proposal(section, tuple(reasons_of(forecast)), comments, forecast.as_of)
    said = f"kind: {kind}, by {WHY[kind]} (change: --kind)"
    return Proposal(found.section, (said, *found.reasons), found.comments, found.as_of)


def guess(seen: Look, asked: Asked) -> Kind:
    """Return the kind of learning: images and names of users and items are unmistakable, then come texts with labels.

    What only a forecast has (a series, a horizon, a season) says that it is one.
    """
    rows = seen.rows
    if asked.series is not None or asked.horizon or asked.season:
        return "forecasting"
    if image_column(rows) is not None:
        return "vision"
    if called(rows, USERS) and called(rows, ITEMS):
        return "ranking"
    text = text_column(rows)
    if text is not None:
        labels = label_columns(rows, [text])
        there = asked.target in rows.columns  # the section's own kind refuses a column that is not
        meant = there and not _is_measured(rows[asked.target])
        if meant or (not there and labels and (is_named_label(labels[0]) or not has_time(rows))):
            return "text"
    return "forecasting"


def _is_measured(values: pl.Series) -> bool:
    return values.dtype.is_float()
