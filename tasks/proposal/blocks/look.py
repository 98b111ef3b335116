"""A file as it is, before anybody has said what its columns are."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.errors import DataError
from tasks.proposal.blocks.written import forms_of, marks_of, read, without_marks
from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.csv_file import CsvForm, is_csv, likely_form, read_text, with_numbers
from tasks.tables.sources.places import READABLE, missing
from tasks.tables.sources.rows import conform
from tasks.tables.table import Column, TableContract


@dataclass(frozen=True)
class Look:
    """`rows`: text, numbers, dates and moments. `texts`: the same as a source reads them, of CSV all as text.

    `form`: how a CSV file is written; None: it is a Parquet file. `missing`: its texts for no value. `days`: columns of
    text that are days or moments in another form than ISO's, and that form; in `rows` they are moments.
    """

    path: Path
    rows: pl.DataFrame
    texts: pl.DataFrame
    form: CsvForm | None = None
    missing: tuple[str, ...] = ()
    days: Mapping[str, str] = field(default_factory=dict)

    def words(self, column: str) -> pl.Series:
        """Return a column as text, as a source hands it to a workload that wants text there."""
        contract = TableContract((Column(column, "string"),), None, None, ())
        return conform(self.texts.select(column), contract, {}, untyped=False)[column].cast(pl.String)

    def source(self, path: str, time: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the `source` section for this file, called `path` there, whose rows are ordered by column `time`."""
        source: dict[str, Any] = {"kind": "table", "path": path, **options}
        shape = source.pop("shape", {})
        if form := self.days.get(time or ""):
            shape = {**shape, "time_format": form}
        if self.missing:
            shape = {**shape, "missing": list(self.missing)}
        if shape:
            source["shape"] = shape
        if self.form is not None:
            usual = CsvForm().model_dump()
            source |= {key: value for key, value in self.form.model_dump().items() if value != usual[key]}
        return source

    def said(self, time: str | None = None) -> list[str]:
        """Return a line of each thing that the file writes in a way of its own; `time` orders its rows."""
        said = []
        if form := self.days.get(time or ""):
            said.append(f"{time} is written as {form} (source.shape.time_format)")
        if self.missing:
            said.append(f"no value: {', '.join(map(repr, self.missing))} (source.shape.missing)")
        return said


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
    missing = marks_of(texts)
    texts = without_marks(texts, missing)
    rows, form = with_numbers(texts, form)
    return _dated(Look(path, rows, texts, form, missing))


def _parquet(path: Path) -> Look:
    rows = pl.read_parquet(path, hive_partitioning=False)
    return _dated(Look(path, _plain(rows), rows))


def _dated(found: Look) -> Look:
    """Return the look with days that are not in ISO form as moments."""
    days = forms_of(found.rows)
    rows = found.rows.with_columns(**{name: read(found.rows[name], form) for name, form in days.items()})
    return replace(found, rows=rows, days=days)


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Categories as text, numbers of fixed point as others."""
    return rows.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64))
