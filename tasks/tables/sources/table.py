"""This source reads rows from Parquet or CSV files: one path, a glob or a folder, on disk or in S3."""

from collections.abc import Collection, Mapping
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator

from tasks.tables.sources.base import Absent, Snapshot, Unreadable, parse_options
from tasks.tables.sources.csv_file import CsvForm, is_csv, numbers, read_text, typed
from tasks.tables.sources.linked import check_linked, linked
from tasks.tables.sources.places import READABLE, Found, find, missing
from tasks.tables.sources.rows import check_columns, conform, up_to
from tasks.tables.sources.shape import Shape
from tasks.tables.table import TableContract


class Reading(CsvForm):
    """A Reading says how a file's rows become a table's. `columns`: contract name -> the file's name."""

    columns: dict[str, str] = Field(default={})
    shape: Shape = Field(default=Shape(), description="what its rows need to be a table")


class Options(Reading):
    """`path` is a file, glob (`*`, `?`, `[…]`; `**` for folders), folder (ending in `/`), or `s3://bucket/key`.

    Files end in .parquet, .csv, .csv.gz or .csv.zst. `until_as_of`: for files that grow every day and hold later days
    too: drop what was not known on `as_of`, so that past nights can be run again. Without it, units that are dated
    after `as_of` are refused. `files`: a folder, or `s3://bucket/prefix`; columns of bytes hold paths of files below
    it, each of which may be an id, too.
    """

    path: str
    until_as_of: bool = False
    files: str | None = Field(default=None, min_length=1)

    @field_validator("path")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not value.lower().endswith((*READABLE, "/")):
            raise ValueError(f"expected files that end in {', '.join(READABLE)}, or a folder that ends in /")
        return value


class TableSource:
    """A TableSource delivers all matching files, in the order of their names, as one table.

    S3 honours AWS_ENDPOINT_URL.
    """

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "table")
        self.contract = contract
        self.project = project
        check_columns(self.options.columns, contract, paths=self.options.files is not None)
        check_linked(self.options.files, contract)

    def fetch(self, as_of: date) -> Snapshot:
        try:
            files = find(self.options.path, self.project)
            rows, lost = self._rows(files, as_of)
        except Unreadable as error:
            mine = self.contract.name
            absent = frozenset({mine}) if isinstance(error, Absent) else frozenset()
            return Snapshot({mine: pl.DataFrame()}, unreadable={mine: str(error)}, absent=absent)
        names = ", ".join(Path(file.name).name for file in files[:3])
        note = f"{len(files)} file(s): {names}{', …' if len(files) > 3 else ''}"
        return Snapshot({self.contract.name: rows}, (note, *lost))

    def _rows(self, files: list[Found], as_of: date) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Return the rows of all files, and notes of files that these name and that are not there."""
        asked, parts = self.options, []
        columns: Mapping[str, str] = asked.columns
        for file in files:
            content = file.read()
            if not (file.may_be_empty and size(content) == 0):
                table = read_file(file.name, content, self.contract, columns, self.options)
                parts.append((file.name, _with_partitions(file, table)))
        if not parts:
            raise Absent(f"{self.options.path}: all of its files are empty (0 bytes)")
        table = _concat(parts)
        texts = [column for column in table.columns if column in files[0].partitions]
        csv = any(is_csv(name) for name, _ in parts)
        lost: tuple[str, ...] = ()
        if asked.files is not None:
            table, columns, lost = linked(table, self.contract, columns, asked.files, self.project)
        rows = shaped(
            asked.path, table, None if csv else texts, self.contract, asked, columns, untyped=csv or bool(texts)
        )
        return up_to(rows, self.contract, as_of) if asked.until_as_of else rows, lost


def shaped(
    where: str,
    table: pl.DataFrame,
    texts: Collection[str] | None,
    contract: TableContract,
    reading: Reading,
    columns: Mapping[str, str] | None = None,
    *,
    untyped: bool,
) -> pl.DataFrame:
    """Return a file's rows as those of a table, under the contract's names.

    `texts`: columns whose texts become whatever the contract has; None: all of them. `columns`: in place of the
    reading's own, where the table has more by now. `untyped`: see `conform`. Raises Unreadable.
    """
    columns, time = reading.columns if columns is None else columns, contract.date or ""
    table = reading.shape.before(table, columns.get(time, time))
    table = reading.shape.counting(table, lambda values: numbers(where, values, reading))
    table = typed(where, table, table.columns if texts is None else texts, contract, columns, reading)
    return reading.shape.after(conform(table, contract, columns, untyped=untyped), contract)


def read_file(
    name: str,
    content: Path | BytesIO,
    contract: TableContract,
    columns: Mapping[str, str],
    form: CsvForm,
) -> pl.DataFrame:
    """Read the rows of a Parquet file, or of a CSV file with all fields as text, told apart by `name`.

    `columns`: contract name -> the file's name. Raises Unreadable.
    """
    try:
        if isinstance(content, Path) and not content.is_file():
            raise Absent(f"{name}: {missing(content)}")
        if size(content) == 0:
            raise Absent(f"{name}: the file is empty (0 bytes)")
        if is_csv(name):
            return read_text(name, content, form, [columns.get(each.name, each.name) for each in contract.columns])
        return pl.read_parquet(content, glob=False, hive_partitioning=False)
    except pl.exceptions.DuplicateError as error:
        raise Unreadable(f"{name}: {' '.join(str(error).split()):.160}; leave one") from error
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise Unreadable(f"{name}: cannot be parsed as parquet: {reason:.160}") from error


def size(content: Path | BytesIO) -> int:
    """Count the bytes of a file."""
    return content.stat().st_size if isinstance(content, Path) else content.getbuffer().nbytes


def _with_partitions(file: Found, table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with the columns from its folders' names, as text. Raises Unreadable where both differ."""
    for name, value in file.partitions.items():
        if name not in table.columns:
            table = table.with_columns(pl.lit(value, pl.String).alias(name))
            continue
        there = table[name].cast(pl.String).unique().to_list()
        if set(there) - {value}:
            raise Unreadable(f"{file.name}: {name} is {there[0]!r:.40} in the file and {value!r} in its folder's name")
    return table


def _concat(parts: list[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """Return all parts as one table. Raises Unreadable naming the file whose columns differ from the first one's."""
    first_name, first = parts[0]
    for name, part in parts[1:]:
        if set(part.columns) != set(first.columns):
            differing = ", ".join(sorted(set(part.columns) ^ set(first.columns)))
            raise Unreadable(f"{name}: other columns than {Path(first_name).name}: {differing}")
        for column in first.columns:  # an id that is 7 here and "007" there would be two
            here, there = part.schema[column], first.schema[column]
            if pl.Null not in (here, there) and (here == pl.String) != (there == pl.String):
                raise Unreadable(f"{name}: types differ: {column} is {here}, and {there} in {Path(first_name).name}")
    try:
        # Whole numbers here and decimals there are one column of numbers.
        return pl.concat([part.select(first.columns) for _, part in parts], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise Unreadable(f"{parts[0][0]} and others: types differ: {' '.join(str(error).split()):.160}") from error
