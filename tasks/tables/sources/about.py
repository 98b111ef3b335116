"""This module describes a night's raw rows in the snapshot's `about.json`."""

from collections.abc import Mapping
from datetime import date
from hashlib import file_digest
from pathlib import Path
from typing import Any

import polars as pl

from tasks.tables.moments import is_timed
from tasks.tables.sources.base import Snapshot
from tasks.tables.table import TableContract


def write(table: pl.DataFrame, path: Path) -> str:
    """Write a snapshot's table as Parquet: equal rows give equal bytes. Returns the file's SHA-256."""
    table.write_parquet(path, compression="zstd", row_group_size=1_000_000)
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def describe(
    snapshot: Snapshot, contracts: Mapping[str, TableContract], digests: Mapping[str, str], source: str, as_of: date
) -> dict[str, Any]:
    """Return the facts of all tables by name, for the run's page and for the next night's checks of volume.

    `digests`: SHA-256 of each table's file.
    """
    about: dict[str, Any] = {
        "source": source,
        "as_of": as_of.isoformat(),
        "notes": list(snapshot.notes),
        "tables": {
            name: {**_facts(table, contracts[name]), "sha256": digests[name]} for name, table in snapshot.tables.items()
        },
    }
    if snapshot.shift_weeks is not None:
        about["shift_weeks"] = snapshot.shift_weeks
    for name, reason in snapshot.unreadable.items():
        about["tables"][name]["unreadable"] = reason
    return about


def _facts(table: pl.DataFrame, contract: TableContract) -> dict[str, Any]:
    """Return one table's facts. `mean_target`: over the finite targets. Missing or wrongly typed columns leave null."""
    entity = [column for column in contract.entity if column in table.columns]
    dated = contract.date is not None and is_timed(table.schema.get(contract.date), contract)
    days = table[contract.date] if dated and contract.date is not None else pl.Series(dtype=pl.Date)
    first, last = days.min(), days.max()
    mean = None
    if contract.target in table.columns and table.schema[contract.target].is_numeric():
        target = table[contract.target].cast(pl.Float64)
        mean = target.filter(target.is_finite()).mean()
    return {
        "rows": table.height,
        "entities": table.select(entity).n_unique() if entity and table.height else 0,
        "first_date": first.isoformat() if isinstance(first, date) else None,
        "last_date": last.isoformat() if isinstance(last, date) else None,
        "mean_target": mean,
    }
