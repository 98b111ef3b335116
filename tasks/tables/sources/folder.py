"""This source makes a table of image files that lie in folders, on disk or in S3; a folder's name is a label."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.core.storage import open_store
from tasks.tables.sources.base import Absent, Snapshot, Unreadable, parse_options
from tasks.tables.sources.linked import with_files
from tasks.tables.sources.places import S3
from tasks.tables.sources.rows import check_columns, conform
from tasks.tables.table import TableContract

FILE, LABEL, IMAGE = "file", "label", "image"
IMAGES = (".jpg", ".jpeg", ".png")


class Options(Frozen):
    """`path`: a folder, or `s3://bucket/prefix`. `columns`: contract name -> `file`, `label` or `image`."""

    path: str = Field(min_length=1)
    columns: dict[str, str] = Field(default={})


class FolderSource:
    """A FolderSource delivers a row for each JPEG and PNG file below a folder, told by its ending.

    - `file`: its path below the folder, by which a row is known again;
    - `label`: the first folder of that path, null where it lies in none;
    - `image`: its bytes.

    What begins with a point, or has another ending, is no image. Files have no day of their own, so a night gets what
    is there when it asks, whatever its `as_of`.
    """

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "folder")
        self.contract, self.project = contract, project
        check_columns(self.options.columns, contract)

    def fetch(self, as_of: date) -> Snapshot:
        mine = self.contract.name
        try:
            files, others = list_images(self.options.path, self.project)
            labels = [label_of(file) for file in files]
            named = pl.DataFrame(
                {FILE: files, LABEL: labels, IMAGE: files}, dict.fromkeys((FILE, LABEL, IMAGE), pl.String)
            )
            table, lost = with_files(named, [IMAGE], self.options.path, self.project)
            rows = conform(table, self.contract, self.options.columns, untyped=False)
        except Unreadable as error:
            absent = frozenset({mine}) if isinstance(error, Absent) else frozenset()
            return Snapshot({mine: pl.DataFrame()}, unreadable={mine: str(error)}, absent=absent)
        notes = [f"{len(files)} image file(s) in {len(set(labels) - {None})} folder(s)"]
        if others:
            notes.append(f"{len(others)} file(s) with another ending are left out, such as {others[0]!r:.80}")
        return Snapshot({mine: rows}, (*notes, *lost))


def list_images(path: str, project: Path) -> tuple[list[str], list[str]]:
    """Return the paths of image files below a folder in their order, and of other files. Raises Absent without any.

    `path`: from `project` if relative, or `s3://bucket/prefix`.
    """
    if not path.startswith(S3) and not (project / path).is_dir():
        raise Absent(f"{path}: no such folder")
    store = open_store(path if path.startswith(S3) else str(project / path))
    found = sorted(key.lstrip("/") for key in store.keys("") if not _is_hidden(key))
    images = [key for key in found if key.lower().endswith(IMAGES)]
    if not images:
        raise Absent(f"{path}: no file that ends in {', '.join(IMAGES)} in this folder or below it")
    return images, [key for key in found if not key.lower().endswith(IMAGES)]


def label_of(file: str) -> str | None:
    """Return the label of a file by its path below the folder."""
    first, *rest = PurePosixPath(file).parts
    return first if rest else None


def _is_hidden(key: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(key).parts)
