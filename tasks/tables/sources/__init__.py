"""Sources of raw rows, by kind."""

from pathlib import Path

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.tables.sources.base import Source
from tasks.tables.table import TableContract


def get_source(spec: Spec, contract: TableContract, workload: str, project: Path | None = None) -> Source:
    """The source that a workload's `source` section asks for.

    `project`: folder that relative paths start from (default: the installation's). Raises ConfigError on an unknown
    kind or option.
    """
    match spec.kind:
        case "complete-journey":
            from tasks.tables.sources.journey_sales import JourneySales

            return JourneySales(spec.options, contract)
        case "complete-journey-households":
            from tasks.tables.sources.journey_households import JourneyHouseholds

            return JourneyHouseholds(spec.options)
        case "table":
            from tasks.tables.sources.table import TableSource

            return TableSource(spec.options, contract, project or Settings().project)
        case "sql":
            from tasks.tables.sources.sql import SqlSource

            return SqlSource(spec.options, contract)
    kinds = "complete-journey, complete-journey-households, table, sql"
    raise ConfigError(f"workloads.{workload}.source.kind: unknown kind {spec.kind!r}; there are: {kinds}")
