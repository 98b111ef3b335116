"""The contract of a workload's raw table."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One column of a workload's table.

    `kind`: polars-independent type family. `known_ahead`: also given for days after `as_of`.
    `low`/`high`: inclusive limits of numbers.
    """

    name: str
    kind: Literal["string", "date", "number", "integer", "boolean"]
    required: bool = True
    nullable: bool = False
    key: bool = False
    known_ahead: bool = False
    low: float | None = None
    high: float | None = None
    about: str = ""


@dataclass(frozen=True)
class TableContract:
    """The columns that a workload's source must deliver, and which of them order and identify its rows."""

    columns: tuple[Column, ...]
    date: str
    target: str | None
    entity: tuple[str, ...]
    horizon_days: int = 0

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that together identify a row."""
        return tuple(column.name for column in self.columns if column.key)
