"""This source reads several tables, each from a source of its own."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from tasks.core.config import Frozen, Spec
from tasks.core.errors import ConfigError
from tasks.tables.sources.base import Snapshot, Source, parse_options
from tasks.tables.table import TableContract


class Options(Frozen):
    """`tables` names each table's source. One that the workload can do without may be left out."""

    tables: dict[str, Spec]


class SeveralTables:
    """SeveralTables delivers all sources' tables. Raises ConfigError on a missing one, or one that it does not know."""

    def __init__(
        self,
        options: Mapping[str, Any],
        tables: Sequence[TableContract],
        source: Callable[[Spec, TableContract], Source],
    ) -> None:
        given = parse_options(Options, options, "tables").tables
        contracts = {table.name: table for table in tables}
        for name in given:
            if name not in contracts:
                raise ConfigError(
                    f"source.tables.{name}: the workload has no such table; it has: {', '.join(contracts)}"
                )
        for name, table in contracts.items():
            if table.required and name not in given:
                raise ConfigError(f"source.tables.{name}: missing; the workload needs: {', '.join(contracts)}")
        self._sources: dict[str, Source] = {}
        for name, spec in given.items():
            try:
                self._sources[name] = source(spec, contracts[name])
            except ConfigError as error:
                raise ConfigError(f"source.tables.{name}: {error}") from error

    def fetch(self, as_of: date) -> Snapshot:
        parts = {name: source.fetch(as_of) for name, source in self._sources.items()}
        shifts = {part.shift_weeks for part in parts.values()} - {None}
        return Snapshot(
            {name: table for part in parts.values() for name, table in part.tables.items()},
            tuple(f"{name}: {note}" for name, part in parts.items() for note in part.notes),
            shift_weeks=shifts.pop() if len(shifts) == 1 else None,
            unreadable={name: reason for part in parts.values() for name, reason in part.unreadable.items()},
            absent=frozenset().union(*(part.absent for part in parts.values())),
        )
