"""The rules that a table must keep before it is scored; without Great Expectations, which takes seconds to start."""

import polars as pl

from tasks.config import Checks
from tasks.errors import DataError
from tasks.problems.base import TableContract
from tasks.validation.options import parse_checks
from tasks.validation.rules import finite_facts, row_rules, samples, type_facts, usable


def require(table: pl.DataFrame, contract: TableContract, checks: Checks) -> None:
    """Columns, types, keys, ranges, NaN: raises DataError with the first rule that is broken, in one line.

    Freshness and volume are left to the nightly run: who scores an old or a small table means to.
    """
    if table.is_empty():
        raise DataError("table: number of rows (expected >= 1): observed 0")
    for column in contract.columns:
        if column.required and column.name not in table.columns:
            raise DataError(
                f"{column.name}: column exists: observed missing; the table has: {', '.join(table.columns)}"
            )
    for fact in type_facts(table, contract):
        if fact.count:
            raise DataError(f"{fact.column}: {fact.rule} (expected {fact.expected}): observed {fact.value}")
    columns = usable(table, contract)
    for fact in finite_facts(table, columns, contract):
        if fact.count:
            raise DataError(_line(fact.column, fact.rule, fact.count, fact.sample[0]))
    for rule in row_rules(columns, contract, parse_checks(checks, contract)):
        bad = table.filter(rule.bad)
        if bad.height:
            raise DataError(_line(rule.column, rule.rule, bad.height, samples(bad, contract, rule.column)[0]))


def _line(column: str, rule: str, count: int, sample: object) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in sample.items()) if isinstance(sample, dict) else sample
    return f"{column}: {rule}: broken by {count} rows, e.g. {shown}"
