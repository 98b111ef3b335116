"""This module reads tables named on a command line, each from a file, as the workload's own source reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl

from tasks.core.config import Spec
from tasks.core.errors import DataError, UsageError
from tasks.tables.moments import kept_whole
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.csv_file import is_csv
from tasks.tables.sources.folder import FolderSource
from tasks.tables.sources.linked import linked
from tasks.tables.sources.places import missing
from tasks.tables.sources.rows import is_whole, kept_as, renamed
from tasks.tables.sources.shape import Shape
from tasks.tables.sources.table import Reading, read_file, shaped
from tasks.tables.table import Column, TableContract

FOLDER = "folder"
PLAIN = Reading()


@dataclass(frozen=True)
class Way:
    """A Way is how a source reads a table. `files`: the folder that its paths name; `kind`: the source's."""

    reading: Reading = PLAIN
    files: str | None = None
    kind: str = ""


def read_files(
    files: Sequence[str], contracts: Sequence[TableContract], source: Spec | None = None, project: Path = Path()
) -> dict[str, pl.LazyFrame]:
    """Return tables by name of `NAME=FILE`, or of `FILE` for the first one. Parquet is read lazily.

    `source`: the workload's section, whose names of columns, signs of CSV files, shape and folder of files hold here
    too; if its rows are the files of a folder, `FILE` may be another folder. `project`: folder that relative paths of
    the section start from. Raises UsageError on a table that is named twice, DataError naming a file that cannot be
    read, or lacks a column that `source` names.
    """
    by_name = {contract.name: contract for contract in contracts}
    ways = _ways(source, contracts)
    tables: dict[str, pl.LazyFrame] = {}
    for file in files:
        name, _, path = file.partition("=")
        if name not in by_name or not path:  # a path may have such a sign
            name, path = contracts[0].name, file
        if name in tables:
            raise UsageError(f"--table {file}: {name} is named twice; write NAME=FILE, one of {', '.join(by_name)}")
        tables[name] = _read(Path(path), by_name[name], ways.get(name, Way()), project)
    return tables


def _read(path: Path, contract: TableContract, way: Way, project: Path) -> pl.LazyFrame:
    if path.is_dir() and way.kind == FOLDER:
        found = FolderSource({"path": str(path), "columns": way.reading.columns}, contract, Path())
        snapshot = found.fetch(date.min)
        if snapshot.unreadable:
            raise DataError(snapshot.unreadable[contract.name])
        return snapshot.tables[contract.name].lazy()
    if not is_csv(str(path)) and way.files is None and way.reading.shape == Shape():
        return scan(path, contract, way.reading)
    try:
        columns: Mapping[str, str] = way.reading.columns
        rows = read_file(str(path), path, contract, columns, way.reading)
        csv = is_csv(str(path))
        texts = None if csv else ()
        if way.files is not None:
            rows, columns, _ = linked(rows, contract, columns, way.files, project)
        return shaped(str(path), rows, texts, contract, way.reading, columns, untyped=csv).lazy()
    except Unreadable as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def scan(path: Path, contract: TableContract, reading: Reading = PLAIN) -> pl.LazyFrame:
    """Scan a Parquet file, read as far as its rows are needed. Raises DataError naming a file that cannot be read."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: {missing(path)}")
        table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        table = table.select(renamed(table.collect_schema().names(), reading.columns))
        for column in contract.columns:
            dtype = table.collect_schema().get(column.name)
            decimal = dtype is not None and dtype.is_float()
            if dtype is not None and (kept := kept_as(dtype, column)) is not None:
                table = table.with_columns(pl.col(column.name).cast(kept))
            elif column.kind == "string" and decimal and is_whole(_values(table, column)):
                table = table.with_columns(pl.col(column.name).cast(pl.Int64).cast(pl.String))
            if column.kind in ("date", "moment") and dtype not in (None, pl.Date):
                found = kept_whole(_values(table, column), column, contract)
                if found.dtype != dtype:
                    read = partial(kept_whole, column=column, contract=contract)
                    moments = pl.col(column.name).map_batches(read, return_dtype=found.dtype, is_elementwise=True)
                    table = table.with_columns(moments)
    except Unreadable as error:
        raise DataError(f"{path}: {error}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be parsed as parquet: {' '.join(str(error).split()):.160}") from error
    return table


def _values(table: pl.LazyFrame, column: Column) -> pl.Series:
    return table.select(column.name).collect(engine="streaming").to_series()


def _ways(source: Spec | None, contracts: Sequence[TableContract]) -> dict[str, Way]:
    """Return the section's way for each table; none where it is of another package's kind."""
    if source is None:
        return {}
    if source.kind == "tables":
        each = {name: Spec.model_validate(spec) for name, spec in source.options["tables"].items()}
        by_name = {contract.name: contract for contract in contracts}
        return {name: way for name, spec in each.items() for way in _ways(spec, (by_name[name],)).values()}
    if source.kind not in ("table", "sql", "package", FOLDER):
        return {}
    given = {name: source.options[name] for name in Reading.model_fields if name in source.options}
    return {contracts[0].name: Way(Reading.model_validate(given), source.options.get("files"), source.kind)}
