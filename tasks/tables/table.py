"""This module defines the contracts of a workload's raw tables: it has one or several, each with a name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from tasks.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

Frame = TypeVar("Frame", "pl.DataFrame", "pl.LazyFrame")
Tables = Mapping[str, "pl.LazyFrame"]
"""Raw tables are held by name."""


@dataclass(frozen=True)
class Column:
    """A Column is one column of a workload's table.

    `kind`: polars-independent type family; a `moment` is finer than a `date`. `known_ahead`: also given for steps after
    `as_of`; another column of such a table has no values there. `fixed`: by entity, so that rows after `as_of` need not
    tell it. `free`: what people wrote, of which no profile keeps a value. `numerals`: a text that may come as a number.
    `theirs`: what it is called in the file that the workload's source reads, if that is another name. `low`/`high`:
    inclusive limits of numbers; `above`: what they must be larger than.
    """

    name: str
    kind: Literal["string", "date", "moment", "number", "integer", "boolean", "binary"]
    required: bool = True
    nullable: bool = False
    key: bool = False
    known_ahead: bool = False
    fixed: bool = False
    free: bool = False
    numerals: bool = False
    theirs: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    about: str = ""


@dataclass(frozen=True)
class TableContract:
    """A TableContract states the columns that a source must deliver, and which of them order and identify its rows.

    `date`: None where rows are about no moment. `step`: name of the step of its dates (tasks/tables/steps.py), of which
    `horizon` are known ahead. `zone`: what moments with a zone become. `required`: whether a night needs the table.
    """

    columns: tuple[Column, ...]
    date: str | None
    target: str | None
    entity: tuple[str, ...]
    horizon: int = 0
    name: str = "table"
    required: bool = True
    step: str = "1d"
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the names. Raises ConfigError when one name stands for two columns."""
        names = [column.name for column in self.columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            about = " and ".join(column.about or column.kind for column in self.columns if column.name == twice)
            raise ConfigError(f"problem: column {twice} of table {self.name} is named twice: {about}")

    @property
    def moment(self) -> str:
        """Return the column of dates, of a table that has one."""
        if self.date is None:
            raise ValueError(f"{self.name}: this table has no column of dates")
        return self.date

    @property
    def ahead(self) -> int:
        """Return the steps after `as_of` that have rows; 0: a table of events, which has no row for a quiet day."""
        return self.horizon if any(column.known_ahead for column in self.columns) else 0

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the columns that together identify a row."""
        return tuple(column.name for column in self.columns if column.key)


def in_zone(contracts: Iterable[TableContract], zone: str) -> tuple[TableContract, ...]:
    """Return the contracts of a workload whose `timezone` is `zone`."""
    return tuple(replace(contract, zone=zone) for contract in contracts)


def known(tables: Mapping[str, Frame], contracts: Iterable[TableContract]) -> dict[str, Frame]:
    """Return the `tables` that there are contracts for, in their order. Raises DataError naming one that is missing."""
    wanted = tuple(contracts)
    for contract in wanted:
        if contract.required and contract.name not in tables:
            there = ", ".join(tables) or "none"
            raise DataError(f"{contract.name}: this table is missing; the workload has it, and given are: {there}")
    for name in tables:
        if name not in {contract.name for contract in wanted}:
            names = ", ".join(contract.name for contract in wanted)
            raise DataError(f"{name}: the workload has no such table; it has: {names}")
    return {contract.name: tables[contract.name] for contract in wanted if contract.name in tables}
