"""Rows from Parquet or CSV files: one path or a glob, in a folder or in S3."""

from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from glob import glob
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.core.storage import open_store
from tasks.tables.sources.base import Snapshot, parse_options
from tasks.tables.sources.rows import conform
from tasks.tables.table import TableContract


class Options(Frozen):
    """`path`: file or glob (`*`, `?`, `[…]`; `**` for folders), or `s3://bucket/key`, ending in .parquet or .csv.

    `columns`: contract name -> the file's name. `until_as_of`: for files that grow every day and hold later days too:
    drop what was not known on `as_of`, so that past nights can be run again. Without it, units that are dated after
    `as_of` are refused.
    """

    path: str = Field(pattern=r"\.(parquet|csv)$")
    columns: dict[str, str] = Field(default={})
    until_as_of: bool = False


class Unreadable(Exception):
    """A file that cannot be parsed; the text names it and says why."""


class Absent(Unreadable):
    """There is no file, or nothing in it yet."""


class TableSource:
    """All matching files, in the order of their names, as one table. S3 honours AWS_ENDPOINT_URL."""

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "table")
        self.contract = contract
        self.project = project
        check_columns(self.options.columns, contract)

    def fetch(self, as_of: date) -> Snapshot:
        csv = self.options.path.endswith(".csv")
        try:
            parts = [
                (name, read_file(name, content, self.contract, self.options.columns)) for name, content in self._files()
            ]
            table = _concat(parts)
        except Unreadable as error:
            mine = self.contract.name
            absent = frozenset({mine}) if isinstance(error, Absent) else frozenset()
            return Snapshot({mine: pl.DataFrame()}, unreadable={mine: str(error)}, absent=absent)
        until = as_of if self.options.until_as_of else None
        names = ", ".join(Path(name).name for name, _ in parts[:3])
        note = f"{len(parts)} file(s): {names}{', …' if len(parts) > 3 else ''}"
        rows = conform(table, self.contract, self.options.columns, untyped=csv, until=until)
        return Snapshot({self.contract.name: rows}, (note,))

    def _files(self) -> list[tuple[str, Path | BytesIO]]:
        """(name, content) of each matching file. Raises Unreadable when there is none."""
        path = self.options.path
        found: list[tuple[str, Path | BytesIO]]
        if path.startswith("s3://"):
            parts = urlparse(path)
            store, pattern = open_store(f"s3://{parts.netloc}"), parts.path.lstrip("/")
            prefix = pattern[: min((pattern.find(sign) for sign in "*?[" if sign in pattern), default=len(pattern))]
            keys = sorted(key for key in store.keys(prefix) if key == pattern or fnmatchcase(key, pattern))
            found = [(store.url(key), BytesIO(store.read(key))) for key in keys]
        else:
            full = str(self.project / path)
            names = [full] if Path(full).is_file() else sorted(glob(full, recursive=True))  # noqa: PTH207 skips hidden files
            found = [(name, Path(name)) for name in names]
        if not found:
            raise Absent(f"{path}: no such file")
        return found


def read_file(name: str, content: Path | BytesIO, contract: TableContract, columns: Mapping[str, str]) -> pl.DataFrame:
    """The rows of a Parquet or CSV file, told apart by `name`; `columns`: contract name -> the file's name.

    Raises Unreadable.
    """
    if isinstance(content, Path) and not content.is_file():
        raise Absent(f"{name}: no such file")
    size = content.stat().st_size if isinstance(content, Path) else content.getbuffer().nbytes
    if size == 0:
        raise Absent(f"{name}: the file is empty (0 bytes)")
    try:
        if name.endswith(".parquet"):
            return pl.read_parquet(content)
        # Ids that look like numbers stay text, and every row has its say about a column's type.
        theirs = {column.name: columns.get(column.name, column.name) for column in contract.columns}
        text = {theirs[column.name]: pl.String for column in contract.columns if column.kind == "string"}
        with_text = {key: value for key, value in text.items() if key in pl.read_csv(content, n_rows=0).columns}
        if isinstance(content, BytesIO):
            content.seek(0)
        return pl.read_csv(content, schema_overrides=with_text, infer_schema_length=None, null_values=[""])
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise Unreadable(f"{name}: cannot be parsed as {name.rpartition('.')[2]}: {reason:.160}") from error


def _concat(parts: list[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """One table. Raises Unreadable naming the file whose columns differ from the first one's."""
    first_name, first = parts[0]
    for name, part in parts[1:]:
        if set(part.columns) != set(first.columns):
            differing = ", ".join(sorted(set(part.columns) ^ set(first.columns)))
            raise Unreadable(f"{name}: other columns than {Path(first_name).name}: {differing}")
    try:
        # Whole numbers here and decimals there are one column of numbers; text among numbers is not.
        return pl.concat([part.select(first.columns) for _, part in parts], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise Unreadable(f"{parts[0][0]} and others: types differ: {' '.join(str(error).split()):.160}") from error


def check_columns(columns: Mapping[str, str], contract: TableContract) -> None:
    """Refuse a mapping for a column that the contract does not have."""
    known = [column.name for column in contract.columns]
    for name in columns:
        if name not in known:
            raise ConfigError(f"source.columns.{name}: the contract has no such column; it has: {', '.join(known)}")
