"""What validation would say of tonight's data, without a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from tasks.tables.facts import facts_of
from tasks.tables.sources.about import describe
from tasks.tables.sources.base import Source
from tasks.tables.table import TableContract, known
from tasks.tables.validation.options import Checks
from tasks.tables.validation.suite import Check, validate_tables


@dataclass(frozen=True)
class Preview:
    """`tables`: facts of each by name (rows, entities, first_date, last_date …). `checks`: every expectation."""

    tables: Mapping[str, Mapping[str, Any]]
    checks: Sequence[Check]

    @property
    def failed(self) -> list[Check]:
        """What does not hold."""
        return [check for check in self.checks if not check.success]


def preview(
    source: Source, contracts: Sequence[TableContract], checks: Checks, kind: str, as_of: date, name: str
) -> Preview:
    """Fetches the rows of a day and validates them as a first night would: without a champion to compare with."""
    snapshot = source.fetch(as_of)
    about = describe(
        snapshot, {contract.name: contract for contract in contracts}, dict.fromkeys(snapshot.tables, ""), kind, as_of
    )
    tables = known(snapshot.tables, contracts)
    found = validate_tables(
        tables, {each: facts_of(about, each) or {} for each in tables}, contracts, checks, as_of, {}, None, name
    )
    return Preview(about["tables"], found)
