"""Rows that users bring: names mapped to the contract's, and types restored where a format cannot carry them."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from tasks.tables.sources.base import sort_by_keys
from tasks.tables.table import TableContract


def conform(
    table: pl.DataFrame,
    contract: TableContract,
    columns: Mapping[str, str],
    *,
    untyped: bool,
    until: date | None = None,
) -> pl.DataFrame:
    """The table under the contract's names, sorted by its keys.

    `columns`: contract name -> the source's name. `untyped`: the format has no dates or booleans of its own (CSV,
    SQLite). `until`: drop what was not known on that evening: rows after the horizon go, and of the days after `until`
    the target is emptied. Only conversions without loss are made; whatever else is wrong is left for validation.
    """
    renames = {theirs: ours for ours, theirs in columns.items() if theirs in table.columns}
    table = table.select(
        pl.col(name).alias(renames.get(name, name))
        for name in table.columns
        if name in renames or name not in renames.values()
    )
    for column in contract.columns:
        if column.name not in table.columns:
            continue
        values = table[column.name]
        if column.kind == "date":
            table = table.with_columns(_as_date(values, untyped=untyped))
        elif column.kind == "boolean" and untyped and values.dtype.is_integer() and values.is_in([0, 1, None]).all():
            table = table.with_columns(values.cast(pl.Boolean))
    if until is not None and contract.date is not None and table.schema.get(contract.date) == pl.Date:
        table = _known(table, contract, contract.date, until)
    return sort_by_keys(table, contract.keys)


def _as_date(values: pl.Series, *, untyped: bool) -> pl.Series:
    """Dates from timestamps at midnight, and from ISO text of untyped formats; else the column as it is."""
    if isinstance(values.dtype, pl.Datetime):
        days = values.cast(pl.Date)
        return days if (days.cast(values.dtype) == values).all() else values
    if untyped and values.dtype == pl.String:
        days = values.str.to_date("%Y-%m-%d", strict=False)
        return days if days.null_count() == values.null_count() else values
    return values


def _known(table: pl.DataFrame, contract: TableContract, column: str, until: date) -> pl.DataFrame:
    day = pl.col(column)
    ahead = contract.horizon_days if any(column.known_ahead for column in contract.columns) else 0
    table = table.filter(day.is_null() | (day <= until + pl.duration(days=ahead)))
    if contract.target in table.columns:
        table = table.with_columns(pl.when(day.is_null() | (day <= until)).then(contract.target).alias(contract.target))
    return table
