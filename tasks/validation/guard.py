"""The rules that a table must keep before it is scored; without Great Expectations, which takes seconds to start."""

import polars as pl

from tasks.config import Checks
from tasks.errors import DataError
from tasks.problems.base import TableContract
from tasks.validation.options import parse_checks
from tasks.validation.rules import finite_facts, row_rules, samples, type_facts, usable

UNIQUENESS = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")


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
    rules = row_rules(columns, contract, parse_checks(checks, contract))
    if _surely_unique(table, contract):
        rules = [rule for rule in rules if rule.expectation not in UNIQUENESS]
    broken = table.select(rule.bad.any().alias(str(place)) for place, rule in enumerate(rules)).row(0)
    for rule in (rule for rule, is_broken in zip(rules, broken, strict=True) if is_broken):
        bad = table.filter(rule.bad)
        raise DataError(_line(rule.column, rule.rule, bad.height, samples(bad, contract, rule.column)[0]))


def _surely_unique(table: pl.DataFrame, contract: TableContract) -> bool:
    """Whether no key is there twice: all hashes differ, which is several times faster to see than that the keys do."""
    keys = contract.keys
    return bool(keys) and table.select(pl.struct(keys).hash(seed=0).n_unique()).item() == table.height


def _line(column: str, rule: str, count: int, sample: object) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in sample.items()) if isinstance(sample, dict) else sample
    return f"{column}: {rule}: broken by {count} rows, e.g. {shown}"
