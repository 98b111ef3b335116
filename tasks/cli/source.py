"""A workload's own source, as commands read it. Imported where one runs: it takes long to import."""

from datetime import date

from tasks.config.workload import Workload
from tasks.core.settings import Settings
from tasks.problems import get_problem
from tasks.scoring import raw
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Source
from tasks.tables.table import TableContract, in_zone


def contracts_of(section: Workload) -> tuple[TableContract, ...]:
    """Return the contracts of a section's tables, in its own zone. Raises ConfigError."""
    return in_zone(get_problem(section.problem).tables(), section.timezone)


def source_of(settings: Settings, workload: str, section: Workload) -> Source:
    """Return the source of a section. Raises ConfigError."""
    return get_source(section.source, contracts_of(section), workload, settings.project)


def complete_tables(settings: Settings, workload: str, section: Workload, as_of: date) -> raw.Raw:
    """Return the source's tables. Raises NotYetError unless they reach up to that day, and what `of_source` does."""
    complete = raw.Complete(contracts_of(section), section.checks)
    return raw.of_source(source_of(settings, workload, section), as_of, complete)
