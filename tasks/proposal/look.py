"""A file as it is, before anybody has said what its columns are."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tasks.core.errors import DataError
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.csv_file import CsvForm, is_csv, likely_form, read_text, with_numbers
from tasks.tables.sources.places import READABLE, missing


@dataclass(frozen=True)
class Look:
    """`rows`: text, numbers, dates and moments. `form`: how a CSV file is written; None: it is a Parquet file."""

    path: Path
    rows: pl.DataFrame
    form: CsvForm | None = None


def look(path: Path) -> Look:
    """Reads a file. Raises DataError naming the file and the reason when it cannot be read, or has no rows."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: {missing(path)}")
        if not path.name.lower().endswith(READABLE):
            raise DataError(f"{path}: expected a file that ends in {', '.join(READABLE)}")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes)")
        found = _csv(path) if is_csv(path.name) else Look(path, _plain(pl.read_parquet(path, hive_partitioning=False)))
    except Unreadable as error:
        raise DataError(str(error)) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be parsed as parquet: {' '.join(str(error).split()):.160}") from error
    if found.rows.is_empty():
        raise DataError(f"{path}: the file has no rows")
    return found


def _csv(path: Path) -> Look:
    form = likely_form(str(path), path)
    rows, form = with_numbers(read_text(str(path), path, form, ()), form)
    return Look(path, rows, form)


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Categories as text, numbers of fixed point as others."""
    return rows.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64))
