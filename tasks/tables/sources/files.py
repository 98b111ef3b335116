"""This module reads tables named on a command line, each from a file, as the workload's own source reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from tasks.core.config import Spec
from tasks.core.errors import DataError, UsageError
from tasks.tables.moments import kept_whole
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.csv_file import CsvForm, is_csv, typed
from tasks.tables.sources.places import missing
from tasks.tables.sources.rows import conform, kept_as, renamed
from tasks.tables.sources.table import read_file
from tasks.tables.table import TableContract


@dataclass(frozen=True)
class Reading:
    """A Reading holds the source's options for its files. `columns`: contract name -> the file's name."""

    columns: Mapping[str, str] = field(default_factory=dict)
    form: CsvForm = field(default_factory=CsvForm)


def read_files(
    files: Sequence[str], contracts: Sequence[TableContract], source: Spec | None = None
) -> dict[str, pl.LazyFrame]:
    """Return tables by name of `NAME=FILE`, or of `FILE` for the first one. Parquet is read lazily.

    `source`: the workload's section, whose names of columns and signs of CSV files hold here too. Raises UsageError on
    a table that is named twice, DataError naming a file that cannot be read, or lacks a column that `source` names.
    """
    by_name = {contract.name: contract for contract in contracts}
    readings = _readings(source, contracts)
    tables: dict[str, pl.LazyFrame] = {}
    for file in files:
        name, _, path = file.partition("=")
        if name not in by_name or not path:  # a path may have such a sign
            name, path = contracts[0].name, file
        if name in tables:
            raise UsageError(f"--table {file}: {name} is named twice; write NAME=FILE, one of {', '.join(by_name)}")
        read = _csv if is_csv(path) else scan
        tables[name] = read(Path(path), by_name[name], readings.get(name, Reading()))
    return tables


def scan(path: Path, contract: TableContract, reading: Reading = Reading()) -> pl.LazyFrame:
    """Scan a Parquet file, read as far as its rows are needed. Raises DataError naming a file that cannot be read."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: {missing(path)}")
        table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        table = table.select(renamed(table.collect_schema().names(), reading.columns))
        for column in contract.columns:
            dtype = table.collect_schema().get(column.name)
            if dtype is not None and (kept := kept_as(dtype, column)) is not None:
                table = table.with_columns(pl.col(column.name).cast(kept))
            if column.kind in ("date", "moment") and dtype not in (None, pl.Date):
                values = table.select(column.name).collect(engine="streaming").to_series()
                found = kept_whole(values, column, contract)
                if found.dtype != dtype:
                    read = partial(kept_whole, column=column, contract=contract)
                    moments = pl.col(column.name).map_batches(read, return_dtype=found.dtype, is_elementwise=True)
                    table = table.with_columns(moments)
    except Unreadable as error:
        raise DataError(f"{path}: {error}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be parsed as parquet: {' '.join(str(error).split()):.160}") from error
    return table


def _csv(path: Path, contract: TableContract, reading: Reading) -> pl.LazyFrame:
    try:
        rows = read_file(str(path), path, contract, reading.columns, reading.form)
        rows = typed(str(path), rows, rows.columns, contract, reading.columns, reading.form)
        return conform(rows, contract, reading.columns, untyped=True).lazy()
    except Unreadable as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _readings(source: Spec | None, contracts: Sequence[TableContract]) -> dict[str, Reading]:
    """Return the section's options for each table's files; none where it is of another package's kind."""
    if source is None:
        return {}
    if source.kind == "tables":
        each = {name: Spec.model_validate(spec) for name, spec in source.options["tables"].items()}
        return {name: reading for name, spec in each.items() for reading in _readings(spec, contracts).values()}
    options = source.options if source.kind in ("table", "sql", "package") else {}
    form = CsvForm.model_validate({name: options[name] for name in CsvForm.model_fields if name in options})
    return {contracts[0].name: Reading(options.get("columns", {}), form)}
