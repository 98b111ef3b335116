"""Tables that are named on a command line, each a file."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.tables.moments import kept_whole
from tasks.tables.sources.rows import conform
from tasks.tables.sources.table import Unreadable, read_file
from tasks.tables.table import TableContract


def read_files(files: Sequence[str], contracts: Sequence[TableContract]) -> dict[str, pl.LazyFrame]:
    """Tables by name of `NAME=FILE`, or of `FILE` for the first one. Parquet is read as far as it is asked for.

    Raises UsageError on a table that is named twice, DataError naming a file that cannot be read.
    """
    by_name = {contract.name: contract for contract in contracts}
    tables: dict[str, pl.LazyFrame] = {}
    for file in files:
        name, _, path = file.partition("=")
        if name not in by_name or not path:  # a path may have such a sign
            name, path = contracts[0].name, file
        if name in tables:
            raise UsageError(f"--table {file}: {name} is named twice; write NAME=FILE, one of {', '.join(by_name)}")
        tables[name] = scan(Path(path), by_name[name]) if path.endswith(".parquet") else _csv(path, by_name[name])
    return tables


def scan(path: Path, contract: TableContract) -> pl.LazyFrame:
    """Rows of a Parquet file, read as far as they are asked for. Raises DataError naming a file that cannot be read."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    table = pl.scan_parquet(path)
    try:
        for column in contract.columns:
            dtype = table.collect_schema().get(column.name)
            if column.kind in ("date", "moment") and dtype not in (None, pl.Date):
                values = table.select(column.name).collect(engine="streaming").to_series()
                found = kept_whole(values, column, contract)
                if found.dtype != dtype:
                    read = partial(kept_whole, column=column, contract=contract)
                    moments = pl.col(column.name).map_batches(read, return_dtype=found.dtype, is_elementwise=True)
                    table = table.with_columns(moments)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be parsed as parquet: {' '.join(str(error).split()):.160}") from error
    return table


def _csv(path: str, contract: TableContract) -> pl.LazyFrame:
    try:
        rows = read_file(path, Path(path), contract, {})
    except Unreadable as error:
        raise DataError(str(error)) from error
    return conform(rows, contract, {}, untyped=path.endswith(".csv")).lazy()
