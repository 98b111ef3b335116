"""This source reads rows from a database through SQLAlchemy; the URL with its password stays in the environment."""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.core.databases import driver_url
from tasks.core.errors import ConfigError, UnavailableError
from tasks.tables.csv_shape import header_fault
from tasks.tables.sources.base import Snapshot, Unreadable, parse_options
from tasks.tables.sources.rows import check_columns, conform, up_to
from tasks.tables.steps import Step
from tasks.tables.table import TableContract

# Text in quotes, quoted names and comments, where a colon begins no parameter.
QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""", re.DOTALL)


class Options(Frozen):
    """`url_env` is the NAME of the environment variable that holds the SQLAlchemy URL.

    `query`: one SELECT; it may use the bind parameters `:as_of` and `:horizon_end` (dates). `columns` and
    `until_as_of`: as for files.
    """

    url_env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    query: str = Field(min_length=1)
    columns: dict[str, str] = Field(default={})
    until_as_of: bool = False


class SqlSource:
    """An SqlSource delivers the rows of one query. SQLite has no dates or booleans: it may give ISO text and 0/1."""

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "sql")
        self.contract = contract
        check_columns(self.options.columns, contract)

    def fetch(self, as_of: date) -> Snapshot:
        import sqlalchemy as sa

        engine = self._engine()
        bounds = {"as_of": as_of, "horizon_end": Step(self.contract.step).day_ahead(as_of, self.contract.horizon)}
        query = sa.text(_literal_colons(self.options.query, bounds))
        used = [sa.bindparam(name, day, sa.Date) for name, day in bounds.items() if name in query.compile().params]
        variable = self.options.url_env
        try:
            with engine.connect() as connection:
                try:
                    rows = connection.execute(query.bindparams(*used))
                    names, records = list(rows.keys()), rows.fetchall()
                except sa.exc.SQLAlchemyError as error:
                    if getattr(error, "connection_invalidated", False):
                        raise UnavailableError(f"database of {variable}: connection lost: {_reason(error)}") from error
                    raise ConfigError(f"source.query: {_reason(error)}") from error
        except sa.exc.SQLAlchemyError as error:
            raise UnavailableError(f"database of {variable} does not answer: {_reason(error)}") from error
        finally:
            engine.dispose()
        if fault := header_fault(names):
            raise ConfigError(f"source.query: {fault}; name the columns, such as SELECT a.units, b.price AS price")
        untyped = engine.dialect.name == "sqlite"
        try:
            table = conform(self._table(names, records), self.contract, self.options.columns, untyped=untyped)
            table = up_to(table, self.contract, as_of) if self.options.until_as_of else table
        except Unreadable as error:
            return Snapshot({self.contract.name: pl.DataFrame()}, unreadable={self.contract.name: str(error)})
        return Snapshot(
            {self.contract.name: table}, (f"SQL query on the {engine.dialect.name} database of {variable}",)
        )

    def _table(self, names: Sequence[str], records: Sequence[Sequence[Any]]) -> pl.DataFrame:
        """Return the records with types that a file can hold. Raises Unreadable naming a column that has none."""
        columns = {}
        for name, values in zip(names, zip(*records, strict=True) if records else [()] * len(names), strict=True):
            try:
                column = pl.Series(name, values, strict=False)
            except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
                kinds = sorted({type(value).__name__ for value in values if value is not None})
                reason = " ".join(str(error).split())
                raise Unreadable(f"source.query: {name} has values of {', '.join(kinds)}: {reason:.120}") from error
            if column.dtype != pl.Object:
                columns[name] = column
            elif name in {self.options.columns.get(each.name, each.name) for each in self.contract.columns}:
                kind = next(type(value).__name__ for value in values if value is not None)
                raise Unreadable(f"source.query: {name} has values of type {kind}; write CAST({name} AS TEXT)")
        return pl.DataFrame(columns)

    def _engine(self) -> Any:
        import sqlalchemy as sa

        variable = self.options.url_env
        url = os.environ.get(variable)
        if not url:
            raise ConfigError(f"source.url_env: {variable} is not set; export it with the database's SQLAlchemy URL")
        try:
            return sa.create_engine(driver_url(url, variable))
        except ModuleNotFoundError as error:
            raise ConfigError(f"{variable}: the driver {error.name!r} is not installed; add it to the image") from error
        except (sa.exc.ArgumentError, ValueError):  # their text holds a part of the password
            raise ConfigError(f"{variable}: not an SQLAlchemy URL (dialect://user:password@host/name)") from None


def _literal_colons(query: str, bounds: Mapping[str, Any]) -> str:
    """Mark the colons of texts and comments in the query as literal. Raises ConfigError on a parameter in quotes."""

    def mark(match: re.Match[str]) -> str:
        quoted = match[0]
        if (name := quoted.strip("'").removeprefix(":")) in bounds and quoted == f"':{name}'":
            raise ConfigError(f"source.query: {quoted} is a text; write :{name} without quotes")
        return re.sub(r"(?<!\\):", r"\\:", quoted)

    return QUOTED.sub(mark, query)


def _reason(error: Exception) -> str:
    """Return the driver's own words, without SQLAlchemy's, which repeat query and parameters."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]
