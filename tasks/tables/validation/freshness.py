"""A night waits by this one rule: it says whether the night's data have come. It does without Great Expectations."""

from collections.abc import Sequence
from datetime import date

from tasks.tables.axis import Axis
from tasks.tables.moments import is_timed
from tasks.tables.sources.base import Snapshot
from tasks.tables.steps import Step
from tasks.tables.table import TableContract
from tasks.tables.validation.options import Checks, checks_by_table, parse_checks
from tasks.tables.validation.rules import counted, freshness


def missing(snapshot: Snapshot, contracts: Sequence[TableContract], checks: Checks, as_of: date) -> str:
    """Return in one line which data have not come, naming the table where there are several; empty if all have.

    A table of which there is nothing yet, or whose rows end too long before `as_of` (`max_stale_steps`), can still
    come. Whatever else is wrong with a table will not pass by waiting, and is left to validation. Raises
    ConfigError on a wrong threshold.
    """
    thresholds = checks_by_table(checks, contracts)
    for contract in contracts:
        if reason := _missing(snapshot, contract, thresholds[contract.name], as_of):
            return reason if len(contracts) == 1 else f"{contract.name}: {reason}"
    return ""


def _missing(snapshot: Snapshot, contract: TableContract, checks: Checks, as_of: date) -> str:
    if contract.name in snapshot.absent:
        return snapshot.unreadable[contract.name]
    table = snapshot.tables.get(contract.name)
    if table is None or contract.date is None or not is_timed(table.schema.get(contract.date), contract):
        return ""
    timed = table.drop_nulls(contract.date)
    if timed.is_empty():
        return f"{contract.date}: rows up to as_of {as_of}: 0 (expected >= 1)"
    axis = Axis.of(Step(contract.step), timed[contract.date])
    if axis.between(timed[contract.date]).any():
        return ""
    end = axis.last(as_of)
    known = counted(timed, contract, axis, end)
    for fact in freshness(known, contract, parse_checks(checks, contract), as_of, end):
        if fact.count:
            last = f", the last is of {fact.sample[0]['last_date']}" if fact.sample else ""
            return f"{fact.column}: {fact.rule}: {fact.value} (expected {fact.expected}){last}"
    return ""
