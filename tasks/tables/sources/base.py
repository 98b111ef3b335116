"""This module defines the interface of a source of raw rows, and the rows that it hands to the snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TypeVar

import polars as pl

from tasks.core.config import Frozen, explained
from tasks.tables.table import TableContract

T = TypeVar("T", bound=Frozen)


@dataclass(frozen=True)
class Snapshot:
    """A Snapshot holds the rows of one night.

    `tables`: the rows of each, sorted by the contract's keys where these exist. `notes`: facts that a reader of the run
    should know. `shift_weeks`: how far a replayed set's dates were moved. `unreadable`: why the data of a table could
    not be parsed, by its name; that table is empty then and validation refuses it. `absent`: those of them of which
    there is nothing at all yet, so that it may still come.
    """

    tables: Mapping[str, pl.DataFrame]
    notes: tuple[str, ...] = ()
    shift_weeks: int | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


class Unreadable(Exception):
    """These data cannot be parsed, or lack columns that the section names; the text names the file and says why."""


class Absent(Unreadable):
    """There is no file, or nothing in it yet."""


class Source(Protocol):
    """A Source delivers the rows of one table, or of several."""

    def fetch(self, as_of: date) -> Snapshot:
        """Return rows for a run as of the end of the day `as_of`.

        Raises UnavailableError when the place does not answer, ConfigError when the section is wrong. Data that
        breaks the contract is handed on as it is: validation refuses it and says why.
        """
        ...


class MakeSource(Protocol):
    """MakeSource makes a source from its section."""

    def __call__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> Source:
        """Return the source. `project`: folder that relative paths start from. Raises ConfigError on a wrong option."""
        ...


def parse_options(model: type[T], options: Mapping[str, Any], kind: str) -> T:
    """Validate a source's own keys. Raises ConfigError naming the field."""
    with explained("source", note=f" (kind {kind} takes: {', '.join(model.model_fields)})"):
        return model.model_validate(dict(options))


def sort_by_keys(table: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Sort rows by the key columns that exist (stable)."""
    present = [key for key in keys if key in table.columns]
    return table.sort(present, maintain_order=True, nulls_last=True) if present else table
