"""The contracts of a workload's raw tables: it has one or several, each with a name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import polars as pl

from tasks.core.errors import ConfigError, DataError

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
Tables = Mapping[str, pl.LazyFrame]
"""Raw tables by name."""


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
    """The columns of one table that a workload's source must deliver, and which of them order and identify its rows.

    `date`: None where rows are about no moment. `required`: whether a night needs the table.
    """

    columns: tuple[Column, ...]
    date: str | None
    target: str | None
    entity: tuple[str, ...]
    horizon_days: int = 0
    name: str = "table"
    required: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError when one name stands for two columns."""
        names = [column.name for column in self.columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            about = " and ".join(column.about or column.kind for column in self.columns if column.name == twice)
            raise ConfigError(f"problem: column {twice} of table {self.name} is named twice: {about}")

    @property
    def moment(self) -> str:
        """The column of dates, of a table that has one."""
        if self.date is None:
            raise ValueError(f"{self.name}: this table has no column of dates")
        return self.date

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns that together identify a row."""
        return tuple(column.name for column in self.columns if column.key)


def known(tables: Mapping[str, Frame], contracts: Iterable[TableContract]) -> dict[str, Frame]:
    """The `tables` that there are contracts for, in their order. Raises DataError naming one that is missing."""
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
