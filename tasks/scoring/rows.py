"""This module reads a workload's rows as people send them: JSON records, CSV, Parquet and Arrow's IPC stream."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from io import BytesIO, StringIO
from typing import Any

import polars as pl

from tasks.core.errors import DataError, RuleError
from tasks.scoring.sizes import Sizes, of_arrow, of_parquet
from tasks.tables.csv_shape import shape_fault
from tasks.tables.moments import kept_whole, read_moments
from tasks.tables.table import Column, TableContract

CSV, PARQUET, ARROW = "text/csv", "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
TYPES: Mapping[str, tuple[pl.DataType, tuple[type, ...], str]] = {
    "string": (pl.String(), (str,), "text"),
    "date": (pl.String(), (str,), "a day as YYYY-MM-DD"),
    "moment": (pl.String(), (str,), "a moment as YYYY-MM-DDTHH:MM, with an offset where the others have one"),
    "number": (pl.Float64(), (float, int), "a number"),
    "integer": (pl.Int64(), (int,), "a whole number"),
    "boolean": (pl.Boolean(), (bool,), "true or false"),
    "binary": (pl.String(), (str,), "bytes in base64"),
}
TIMED = ("date", "moment")
MAX_COLUMNS, HEADER_BYTES = 1000, 65536  # of a CSV file
WORDS = {"true": True, "false": False, "1": True, "0": False}


def from_records(records: Sequence[Mapping[str, Any]], contract: TableContract) -> pl.DataFrame:
    """Return the contract's columns of JSON records; a record without a column has null there.

    Columns that no record has are left out. Here and below a column may be called as in the source's file, too. Raises
    RuleError naming column, row and type of the first wrong value.
    """
    found = {}
    names = dict.fromkeys(name for record in records for name in record)
    for column, name in _called(names, contract):
        found[column.name] = _typed(column, [record.get(name) for record in records], contract)
    if records and not found:
        raise _strange(list(records[0]), contract)
    return pl.DataFrame(found)


def from_csv(content: bytes, contract: TableContract, rows: int) -> pl.DataFrame:
    """Return the contract's columns of a CSV file with a header and at most `rows` rows; an empty field is null.

    Raises DataError, RuleError.
    """

    def read() -> pl.DataFrame:
        names = pl.read_csv(_header(content), infer_schema=False).columns
        if fault := shape_fault(StringIO(content.decode("utf-8-sig"), newline="")):
            raise ValueError(fault)
        known = [name for _, name in _called(names, contract)]
        if not known:
            raise _strange(names, contract)
        return pl.read_csv(content, infer_schema=False, null_values=[""], columns=known, n_rows=rows + 1)

    table = _parsed("CSV", read)
    if len(table) > rows:
        raise too_many(rows)
    known = _called(table.columns, contract)
    return pl.DataFrame(
        {column.name: _of_text(column, table[name].rename(column.name), contract) for column, name in known}
    )


def from_parquet(content: bytes, contract: TableContract, rows: int, size: int) -> pl.DataFrame:
    """Read the contract's columns of a Parquet file of at most `rows` rows, `size` bytes unpacked. Raises DataError."""

    def read() -> pl.DataFrame:
        _check_sizes(of_parquet(content), rows, size)
        table = pl.scan_parquet(BytesIO(content))
        names = table.collect_schema().names()
        if not _called(names, contract):
            raise _strange(names, contract)
        return table.select(pl.col(name).alias(column.name) for column, name in _called(names, contract)).collect()

    return _days(_bounded(_parsed("Parquet", read), rows, size), contract)


def from_arrow(content: bytes, contract: TableContract, rows: int, size: int) -> pl.DataFrame:
    """Read the contract's columns of a stream in Arrow's IPC format, within the same limits. Raises DataError."""

    def read() -> pl.DataFrame:
        _check_sizes(of_arrow(content), rows, size)
        return pl.read_ipc_stream(BytesIO(content))

    table = _parsed("an Arrow stream", read)
    if not _called(table.columns, contract):
        raise _strange(table.columns, contract)
    table = table.select(pl.col(name).alias(column.name) for column, name in _called(table.columns, contract))
    return _days(_bounded(table, rows, size), contract)


def to_bytes(table: pl.DataFrame, media_type: str) -> bytes:
    """Return the table in one of the binary formats, or as CSV."""
    content = BytesIO()
    match media_type:
        case "text/csv":
            table.write_csv(content, datetime_format=_iso(table))
        case "application/vnd.apache.parquet":
            table.write_parquet(content, compression="zstd")
        case _:
            table.write_ipc_stream(content)
    return content.getvalue()


def _iso(table: pl.DataFrame) -> str:
    """Return how moments are written: with their offset if they have a zone."""
    zoned = any(isinstance(dtype, pl.Datetime) and dtype.time_zone for dtype in table.dtypes)
    return "%Y-%m-%dT%H:%M:%S%:z" if zoned else "%Y-%m-%dT%H:%M:%S"


def too_many(limit: int) -> RuleError:
    """Return the error for a table with more rows than are allowed."""
    return RuleError(f"table: more than {limit} rows; send the entities in parts", "", f"number of rows <= {limit}")


def _called(names: Collection[str], contract: TableContract) -> list[tuple[Column, str]]:
    """Return the contract's columns that are there, each with its name there: the contract's, or else the file's."""
    found = ((column, column.name if column.name in names else column.theirs) for column in contract.columns)
    return [(column, name) for column, name in found if name in names]


def _strange(names: Sequence[str], contract: TableContract) -> RuleError:
    """Return the error for rows that have no column of the contract: otherwise they would be no rows at all."""
    wanted, sent = ", ".join(column.name for column in contract.columns), ", ".join(map(str, names)) or "none"
    needed = next((column.name for column in contract.columns if column.required), contract.columns[0].name)
    said = f"{needed}: none of the columns is the workload's, {wanted}; sent are: {sent:.200}"
    return RuleError(said, needed, "column exists")


def _header(content: bytes) -> bytes:
    """Return the first line of a CSV file, whose columns are counted before anything is made for them."""
    end = 0
    while end < len(content):
        end = content.find(b"\n", end) + 1 or len(content)
        if end > HEADER_BYTES or content.count(b",", 0, end) > MAX_COLUMNS:
            raise ValueError(f"a header of more than {MAX_COLUMNS} columns or {HEADER_BYTES} bytes")
        if content.count(b'"', 0, end) % 2 == 0:  # otherwise the line goes on within quotes
            break
    return content[:end]


def _check_sizes(found: Sizes, rows: int, size: int) -> None:
    if found.rows > rows:
        raise too_many(rows)
    if found.unpacked > size:
        raise _too_large(size)


def _bounded(table: pl.DataFrame, rows: int, size: int) -> pl.DataFrame:
    """Return the table if it keeps the limits after all: many rows may share one long text, which no size tells."""
    texts = table.select(
        pl.col(pl.String, pl.Categorical).cast(pl.String).str.len_bytes().sum(), pl.col(pl.Binary).bin.size().sum()
    )
    if len(table) > rows:
        raise too_many(rows)
    if table.estimated_size() > size or sum(texts.row(0) if len(texts) else ()) > size:
        raise _too_large(size)
    return table


def _too_large(size: int) -> RuleError:
    return RuleError(f"table: more than {size} bytes unpacked; send the entities in parts", "", f"bytes <= {size}")


def _parsed(what: str, read: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    try:
        return read()
    except (pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as error:
        raise DataError(f"the body cannot be read as {what}: {' '.join(str(error).split()):.160}") from None
    except pl.exceptions.PanicException:  # a file that lies about itself; the text speaks of polars' own code
        raise DataError(f"the body cannot be read as {what}") from None


def _typed(column: Column, values: list[Any], contract: TableContract) -> pl.Series:
    dtype, allowed, _ = TYPES[column.kind]
    if column.numerals:
        values = [str(value) if type(value) in (int, float) else value for value in values]
    if {type(value) for value in values} - {*allowed, type(None)}:
        raise _wrong(column, values, lambda value: type(value) in allowed)
    try:
        found = pl.Series(column.name, values, dtype)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        raise _wrong(column, values, lambda value: abs(value) < 2**63) from None
    if column.kind == "binary":
        return _whole(column, found, _bytes(found))
    return _whole(column, found, read_moments(found, column, contract)) if column.kind in TIMED else found


def _of_text(column: Column, values: pl.Series, contract: TableContract) -> pl.Series:
    """Return text as the column's own type."""
    if column.kind == "string":
        return values
    if column.kind == "binary":
        return _whole(column, values, _bytes(values))
    if column.kind in TIMED:
        return _whole(column, values, read_moments(values, column, contract))
    if column.kind == "boolean":
        found = values.str.to_lowercase().replace_strict(WORDS, default=None, return_dtype=pl.Boolean)
    else:
        found = values.cast(TYPES[column.kind][0], strict=False)
    return _whole(column, values, found)


def _bytes(values: pl.Series) -> pl.Series:
    """Return the bytes of texts in base64, null where a text is none."""
    return values.str.decode("base64", strict=False)


def _whole(column: Column, values: pl.Series, found: pl.Series) -> pl.Series:
    """Return `found`, if none of the `values` was lost in it."""
    if found.null_count() != values.null_count():
        lost = (found.is_null() & values.is_not_null()).arg_true()
        raise _no_value(column, int(lost[0]), values[int(lost[0])])
    return found


def _days(table: pl.DataFrame, contract: TableContract) -> pl.DataFrame:
    """Return the table with its dates, moments and numerals as sources deliver them."""
    numerals = [
        column.name
        for column in contract.columns
        if column.numerals and column.name in table.columns and table.schema[column.name].is_numeric()
    ]
    table = table.with_columns(pl.col(numerals).cast(pl.String)) if numerals else table
    timed = [column for column in contract.columns if column.kind in TIMED and column.name in table.columns]
    return table.with_columns(kept_whole(table[column.name], column, contract) for column in timed) if timed else table


def _wrong(column: Column, values: Iterable[Any], good: Callable[[Any], bool]) -> RuleError:
    row, value = next((row, value) for row, value in enumerate(values) if value is not None and not good(value))
    return _no_value(column, row, value)


def _no_value(column: Column, row: int, value: object) -> RuleError:
    expected = TYPES[column.kind][2]
    shown = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else f"{value!r:.40}"
    if isinstance(value, date):
        shown = str(value)
    return RuleError(f"{column.name}: {shown} in row {row} is not {expected}", column.name, f"type {column.kind}", row)
