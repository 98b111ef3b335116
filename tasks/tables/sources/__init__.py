"""Sources of raw rows, by kind."""

from collections.abc import Sequence
from pathlib import Path

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.tables.sources.base import Source
from tasks.tables.table import TableContract


def get_source(spec: Spec, tables: Sequence[TableContract], workload: str, project: Path | None = None) -> Source:
    """The source that a workload's `source` section asks for: of the kind's one table, or of its `tables` by name.

    `project`: folder that relative paths start from (default: the installation's). Raises ConfigError on an unknown
    kind or option.
    """
    if spec.kind == "tables":
        from tasks.tables.sources.several import SeveralTables

        return SeveralTables(spec.options, tables, lambda one, table: get_source(one, (table,), workload, project))
    if len(tables) != 1:
        names = ", ".join(table.name for table in tables)
        raise ConfigError(
            f"workloads.{workload}.source.kind: {spec.kind} gives one table, and the workload has {names}; "
            "take kind tables, with a source for each"
        )
    (contract,) = tables
    match spec.kind:
        case "complete-journey":
            from tasks.tables.sources.journey_sales import JourneySales

            return JourneySales(spec.options, contract)
        case "complete-journey-households":
            from tasks.tables.sources.journey_households import JourneyHouseholds

            return JourneyHouseholds(spec.options, contract)
        case "table":
            from tasks.tables.sources.table import TableSource

            return TableSource(spec.options, contract, project or Settings().project)
        case "sql":
            from tasks.tables.sources.sql import SqlSource

            return SqlSource(spec.options, contract)
    kinds = "complete-journey, complete-journey-households, table, tables, sql"
    raise ConfigError(f"workloads.{workload}.source.kind: unknown kind {spec.kind!r}; there are: {kinds}")
