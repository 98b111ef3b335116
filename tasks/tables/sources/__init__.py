"""Sources of raw rows, by kind."""

from pathlib import Path

from tasks.core.config import Spec
from tasks.core.loader import Kinds
from tasks.core.settings import Settings
from tasks.tables.sources.base import MakeSource, Source
from tasks.tables.table import TableContract

SOURCES = {
    "complete-journey": "tasks.tables.sources.journey_sales:JourneySales",
    "complete-journey-households": "tasks.tables.sources.journey_households:JourneyHouseholds",
    "table": "tasks.tables.sources.table:TableSource",
    "sql": "tasks.tables.sources.sql:SqlSource",
}


def get_source(spec: Spec, contract: TableContract, workload: str, project: Path | None = None) -> Source:
    """The source that a workload's `source` section asks for.

    `project`: folder that relative paths start from (default: the installation's). Raises ConfigError on an unknown
    kind or option.
    """
    make: MakeSource = Kinds("sources", SOURCES).find(spec.kind, f"workloads.{workload}.source.kind")
    return make(spec.options, contract, project or Settings().project)
