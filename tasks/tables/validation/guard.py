"""A table must keep these rules before it is scored; Great Expectations, which takes seconds to start, is not used."""

from collections.abc import Sequence

import polars as pl
from polars import selectors

from tasks.core.errors import RuleError
from tasks.tables.table import Column, TableContract
from tasks.tables.validation.options import CheckOptions
from tasks.tables.validation.rules import RowRule, finite_facts, row_rules, samples, shown, type_facts, usable

FEW_ROWS = 5000  # below it, looking for shortcuts takes longer than they save
UNIQUENESS = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")


class Guard:
    """A guard checks tables of one contract. Their rules are made once, not anew for each of a thousand requests."""

    def __init__(self, contract: TableContract, options: CheckOptions) -> None:
        self.contract, self.options = contract, options
        self._last: tuple[Sequence[Column], Sequence[RowRule]] = ((), ())

    def require(self, table: pl.DataFrame) -> None:
        """Check columns, types, keys, ranges, NaN: raise RuleError with the first rule that is broken, in one line.

        Freshness and volume are left to the nightly run: who scores an old or a small table means to.
        """
        contract = self.contract
        if table.is_empty():
            raise RuleError("table: number of rows (expected >= 1): observed 0", "", "number of rows >= 1")
        for column in contract.columns:
            if column.required and column.name not in table.columns:
                said = f"{column.name}: column exists: observed missing; the table has: {', '.join(table.columns)}"
                raise RuleError(said, column.name, "column exists")
        for fact in type_facts(table, contract):
            if fact.count:
                said = f"{fact.column}: {fact.rule} (expected {fact.expected}): observed {fact.value}"
                said += "".join(f", e.g. {shown(found)}" for found in fact.sample)
                raise RuleError(said, fact.column, f"type {fact.expected}")
        columns = usable(table, contract)
        for fact in () if surely_finite(table) else finite_facts(table, columns, contract):
            if fact.count:
                raise _broken(table, contract, fact.column, fact.rule, ~pl.col(fact.column).is_finite())
        rules = self._rules_of(columns)
        if len(table) > FEW_ROWS and _surely_unique(table, contract):
            rules = [rule for rule in rules if rule.expectation not in UNIQUENESS]
        broken = table.select(rule.bad.any().alias(str(place)) for place, rule in enumerate(rules)).row(0)
        for rule in (rule for rule, is_broken in zip(rules, broken, strict=True) if is_broken):
            raise _broken(table, contract, rule.column, rule.rule, rule.bad)

    def _rules_of(self, columns: Sequence[Column]) -> Sequence[RowRule]:
        """Return the rules of a table with these columns: those of the last table, if it had the same."""
        known, rules = self._last  # read and written as one: other threads are at it too
        if known != columns:
            rules = row_rules(list(columns), self.contract, self.options)
            self._last = columns, rules
        return rules


def surely_finite(table: pl.DataFrame) -> bool:
    """Return whether there is no NaN and no infinity: a sum would be one too, and is several times faster to see."""
    floats = table.select(selectors.float())
    return not floats.width or all(floats.select(pl.all().sum().is_finite()).row(0))


def _surely_unique(table: pl.DataFrame, contract: TableContract) -> bool:
    """Return whether no key occurs twice, by the quickest way to see it: rising dates, or hashes that all differ."""
    keys = contract.keys
    return bool(keys) and (
        _rising(table, contract) or table.select(pl.struct(keys).hash(seed=0).n_unique()).item() == table.height
    )


def _rising(table: pl.DataFrame, contract: TableContract) -> bool:
    """Return whether the rows of each entity follow each other with later and later dates."""
    others = [name for name in contract.keys if name != contract.date]
    if not others or contract.date not in contract.keys:
        return False
    before, after = table.head(-1), table.tail(-1)
    later = after[contract.moment] > before[contract.moment]
    begins = pl.zeros(len(later), pl.Boolean, eager=True)
    for name in others:
        begins |= after[name].ne_missing(before[name])
    if begins.sum() > len(begins) / 2 or not (later | begins).all(ignore_nulls=False):  # not grouped by entity
        return False
    entities = pl.concat([table.select(others).head(1), after.select(others).filter(begins)])
    return not entities.is_duplicated().any()


def _broken(table: pl.DataFrame, contract: TableContract, column: str, rule: str, bad: pl.Expr) -> RuleError:
    """Return the error for a rule that the rows under `bad` break."""
    places = table.select(bad.arg_true()).to_series()
    row = int(places[0])
    found = shown(samples(table[[row]], contract, column)[0])
    return RuleError(f"{column}: {rule}: broken by {len(places)} rows, e.g. row {row}: {found}", column, rule, row)
