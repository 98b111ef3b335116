"""A file as it is, before anybody has said what its columns are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.errors import DataError
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.csv_file import CsvForm, is_csv, likely_form, read_text, with_numbers
from tasks.tables.sources.places import READABLE, missing
from tasks.tables.sources.rows import conform
from tasks.tables.table import Column, TableContract


@dataclass(frozen=True)
class Look:
    """`rows`: text, numbers, dates and moments. `texts`: the same as a source reads them, of CSV all as text.

    `form`: how a CSV file is written; None: it is a Parquet file.
    """

    path: Path
    rows: pl.DataFrame
    texts: pl.DataFrame
    form: CsvForm | None = None

    def words(self, column: str) -> pl.Series:
        """Return a column as text, as a source hands it to a workload that wants text there."""
        contract = TableContract((Column(column, "string"),), None, None, ())
        return conform(self.texts.select(column), contract, {}, untyped=False)[column].cast(pl.String)

    def source(self, path: str, **options: Any) -> dict[str, Any]:
        """Return the `source` section for this file, called `path` there."""
        source: dict[str, Any] = {"kind": "table", "path": path, **options}
        if self.form is not None:
            usual = CsvForm().model_dump()
            source |= {key: value for key, value in self.form.model_dump().items() if value != usual[key]}
        return source


def look(path: Path) -> Look:
    """Reads a file. Raises DataError naming the file and the reason when it cannot be read, or has no rows."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: {missing(path)}")
        if not path.name.lower().endswith(READABLE):
            raise DataError(f"{path}: expected a file that ends in {', '.join(READABLE)}")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty (0 bytes)")
        found = _csv(path) if is_csv(path.name) else _parquet(path)
    except Unreadable as error:
        raise DataError(str(error)) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be parsed as parquet: {' '.join(str(error).split()):.160}") from error
    if found.rows.is_empty():
        raise DataError(f"{path}: the file has no rows")
    return found


def _csv(path: Path) -> Look:
    form = likely_form(str(path), path)
    texts = read_text(str(path), path, form, ())
    rows, form = with_numbers(texts, form)
    return Look(path, rows, texts, form)


def _parquet(path: Path) -> Look:
    rows = pl.read_parquet(path, hive_partitioning=False)
    return Look(path, _plain(rows), rows)


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Categories as text, numbers of fixed point as others."""
    return rows.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64))
