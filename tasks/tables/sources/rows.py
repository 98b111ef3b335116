"""Rows that users bring: names mapped to the contract's, and types restored where a format cannot carry them."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from tasks.tables.moments import is_timed, kept_whole
from tasks.tables.sources.base import sort_by_keys
from tasks.tables.steps import Axis, Step
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

    `columns`: contract name -> the source's name. `untyped`: the format has no booleans of its own (CSV, SQLite).
    `until`: drop what was not known on that evening: rows after the horizon go, and of the steps after the last known
    one the target is emptied. Only conversions without loss are made; whatever else is wrong is left for validation.
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
        if column.kind in ("date", "moment"):
            table = table.with_columns(kept_whole(values, column, contract))
        elif column.kind == "boolean" and untyped and values.dtype.is_integer() and values.is_in([0, 1, None]).all():
            table = table.with_columns(values.cast(pl.Boolean))
    if until is not None and contract.date is not None and is_timed(table.schema.get(contract.date), contract):
        table = _known(table, contract, contract.date, until)
    return sort_by_keys(table, contract.keys)


def _known(table: pl.DataFrame, contract: TableContract, column: str, until: date) -> pl.DataFrame:
    dates = table[column].drop_nulls()
    if dates.is_empty():
        return table
    axis, moment = Axis.of(Step(contract.step), dates), pl.col(column)
    last = axis.last(until)
    table = table.filter(moment.is_null() | (moment <= axis.value(last + contract.ahead)))
    if contract.target in table.columns:
        known = moment.is_null() | (moment <= axis.value(last))
        table = table.with_columns(pl.when(known).then(contract.target).alias(contract.target))
    return table
