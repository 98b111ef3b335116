"""Rows from a database through SQLAlchemy; the URL with its password stays in the environment."""

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from tasks.core.config import Frozen
from tasks.core.databases import driver_url
from tasks.core.errors import ConfigError, UnavailableError
from tasks.tables.sources.base import Snapshot, parse_options
from tasks.tables.sources.rows import conform
from tasks.tables.sources.table import check_columns
from tasks.tables.steps import Step
from tasks.tables.table import TableContract


class Options(Frozen):
    """`url_env`: NAME of the environment variable that holds the SQLAlchemy URL.

    `query`: one SELECT; it may use the bind parameters `:as_of` and `:horizon_end` (dates). `columns` and
    `until_as_of`: as for files.
    """

    url_env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    query: str = Field(min_length=1)
    columns: dict[str, str] = Field(default={})
    until_as_of: bool = False


class SqlSource:
    """The rows of one query. SQLite has no dates or booleans: ISO text and 0/1 are taken as such there."""

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "sql")
        self.contract = contract
        check_columns(self.options.columns, contract)

    def fetch(self, as_of: date) -> Snapshot:
        import sqlalchemy as sa

        engine = self._engine()
        query = sa.text(self.options.query)
        bounds = {"as_of": as_of, "horizon_end": Step(self.contract.step).day_ahead(as_of, self.contract.horizon)}
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
        table = pl.DataFrame(
            [tuple(record) for record in records], schema=names, orient="row", infer_schema_length=None, strict=False
        )
        until = as_of if self.options.until_as_of else None
        untyped = engine.dialect.name == "sqlite"
        table = conform(table, self.contract, self.options.columns, untyped=untyped, until=until)
        return Snapshot(
            {self.contract.name: table}, (f"SQL query on the {engine.dialect.name} database of {variable}",)
        )

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


def _reason(error: Exception) -> str:
    """The driver's own words, without SQLAlchemy's (those repeat query and parameters)."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:200]
