"""Sources deliver raw rows; each kind has a name."""

from collections.abc import Sequence
from pathlib import Path

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.core.loader import Kinds
from tasks.core.settings import Settings
from tasks.tables.sources.base import MakeSource, Source
from tasks.tables.table import TableContract

SOURCES = {
    "complete-journey": "tasks.tables.sources.journey_sales:JourneySales",
    "complete-journey-households": "tasks.tables.sources.journey_households:JourneyHouseholds",
    "table": "tasks.tables.sources.table:TableSource",
    "folder": "tasks.tables.sources.folder:FolderSource",
    "sql": "tasks.tables.sources.sql:SqlSource",
    "simulated-requests": "tasks.tables.sources.requests:SimulatedRequests",
    "package": "tasks.tables.sources.package:PackageSource",
}


SEVERAL = "tables"
"""This kind has a source for each table."""


def get_source(spec: Spec, tables: Sequence[TableContract], workload: str, project: Path | None = None) -> Source:
    """Return the source that a workload's `source` section names: of the kind's one table, or of its `tables` by name.

    `project`: folder that relative paths start from (default: the installation's). Raises ConfigError on an unknown
    kind or option.
    """
    if spec.kind == SEVERAL:
        from tasks.tables.sources.several import SeveralTables

        return SeveralTables(spec.options, tables, lambda one, table: get_source(one, (table,), workload, project))
    make: MakeSource = Kinds("sources", {**SOURCES, SEVERAL: None}).find(spec.kind, f"workloads.{workload}.source.kind")
    if len(tables) != 1:
        names = ", ".join(table.name for table in tables)
        raise ConfigError(
            f"workloads.{workload}.source.kind: {spec.kind} gives one table, and the workload has {names}; "
            f"take kind {SEVERAL}, with a source for each"
        )
    return make(spec.options, tables[0], project or Settings().project)
