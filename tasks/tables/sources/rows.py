"""This module maps users' names of columns to the contract's, and restores types where a format cannot carry them."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from tasks.core.errors import ConfigError
from tasks.tables.axis import Axis
from tasks.tables.moments import is_timed, kept_whole
from tasks.tables.sources.base import Unreadable, sort_by_keys
from tasks.tables.steps import Step
from tasks.tables.table import Column, TableContract

EMPTY: Mapping[str, pl.DataType] = {
    "string": pl.String(),
    "date": pl.Date(),
    "moment": pl.Datetime("us"),
    "boolean": pl.Boolean(),
    "binary": pl.Binary(),
}
"""A column without any value gets this type, by the contract's kind; all others are numbers."""


def conform(
    table: pl.DataFrame,
    contract: TableContract,
    columns: Mapping[str, str],
    *,
    untyped: bool,
) -> pl.DataFrame:
    """Return the table under the contract's names, sorted by its keys.

    `columns`: contract name -> the source's name. `untyped`: the format has no booleans of its own (CSV, SQLite).
    Only conversions without loss are made; whatever else is wrong is left for validation.
    Raises Unreadable when the table lacks a column of `columns`.
    """
    table = table.select(renamed(table.columns, columns))
    for column in contract.columns:
        if column.name not in table.columns:
            continue
        values = table[column.name]
        if (dtype := kept_as(values.dtype, column)) is not None:
            table = table.with_columns(values.cast(dtype))
        elif column.kind == "string" and is_whole(values):
            table = table.with_columns(values.cast(pl.Int64).cast(pl.String))
        elif values.dtype == pl.Null or values.dtype.is_decimal():
            table = table.with_columns(_plain(values, column))
        elif column.kind in ("date", "moment"):
            table = table.with_columns(kept_whole(values, column, contract))
        elif column.kind == "boolean" and untyped and values.dtype.is_integer() and values.is_in([0, 1, None]).all():
            table = table.with_columns(values.cast(pl.Boolean))
    return sort_by_keys(table, contract.keys)


def kept_as(dtype: pl.DataType, column: Column) -> pl.DataType | None:
    """The type that values become without loss, where the contract has another: ids in numbers, true and false."""
    if column.kind == "string" and (dtype.is_integer() or dtype == pl.Boolean):
        return pl.String()
    if column.kind == "string" and column.numerals and dtype.is_numeric():
        return pl.String()
    return pl.Int8() if column.kind == "number" and dtype == pl.Boolean else None


def is_whole(values: pl.Series) -> bool:
    """Whether these are whole numbers in a type of decimals, as tools keep ids that some rows lack."""
    return values.dtype.is_float() and bool((values.is_finite() & (values == values.floor())).all())


def renamed(names: Sequence[str], columns: Mapping[str, str]) -> list[pl.Expr]:
    """Return the table's columns under the contract's names; one that only has the name gives way to the mapped one.

    Raises Unreadable when a mapped column is not there: another that happens to have the contract's name is not it.
    """
    for ours, theirs in columns.items():
        if theirs not in names:
            raise Unreadable(f"source.columns.{ours}: the table has no column {theirs!r}; it has: {', '.join(names)}")
    renames = {theirs: ours for ours, theirs in columns.items()}
    return [pl.col(name).alias(renames.get(name, name)) for name in names if name in renames or name not in columns]


def check_columns(columns: Mapping[str, str], contract: TableContract, *, paths: bool = False) -> None:
    """Refuse a mapping for a column that the contract does not have, and one column for two. Raises ConfigError.

    `paths`: columns of bytes hold paths of files, each of which may be another column, too, such as an id.
    """
    known = [column.name for column in contract.columns]
    for name in columns:
        if name not in known:
            raise ConfigError(f"source.columns.{name}: the contract has no such column; it has: {', '.join(known)}")
    meant: dict[str, str] = {}
    for column in contract.columns:
        if not column.required and column.name not in columns:
            continue
        theirs = columns.get(column.name, column.name)
        if paths and column.kind == "binary":
            continue
        if theirs in meant:
            raise ConfigError(
                f"source.columns: {meant[theirs]} and {column.name} name the same column {theirs!r}; each needs its own"
            )
        meant[theirs] = column.name


def _plain(values: pl.Series, column: Column) -> pl.Series:
    """Give a column without any value the contract's type; make decimals of fixed point integers or floats."""
    if values.dtype == pl.Null:
        return values.cast(EMPTY.get(column.kind, pl.Float64()))
    whole = values.cast(pl.Int64, strict=False)
    is_whole = column.kind == "integer" and (whole.cast(values.dtype, strict=False).eq_missing(values)).all()
    return whole if is_whole else values.cast(pl.Float64)


def up_to(table: pl.DataFrame, contract: TableContract, until: date) -> pl.DataFrame:
    """Return the table as known on the evening of `until`; without the contract's dates it is left as it is.

    Rows after the horizon go, and of the steps after the last known one the target is emptied.
    """
    if contract.date is None or not is_timed(table.schema.get(contract.date), contract):
        return table
    dates = table[contract.date].drop_nulls()
    if dates.is_empty():
        return table
    axis, moment = Axis.of(Step(contract.step), dates), pl.col(contract.date)
    last = axis.last(until)
    table = table.filter(moment.is_null() | (moment <= axis.value(last + contract.ahead)))
    if contract.target in table.columns:
        known = moment.is_null() | (moment <= axis.value(last))
        table = table.with_columns(pl.when(known).then(contract.target).alias(contract.target))
    return table
