"""Stage snapshot: take the source's rows up to as_of into one Parquet file and say what they are."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import polars as pl

from tasks.core.files import write_json
from tasks.problems import get_problem
from tasks.stages.context import Context
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.table import TableContract


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/snapshot/{table.parquet, about.json}. Equal rows give equal bytes."""
    contract = get_problem(ctx.run.problem).table()
    source = get_source(ctx.run.source, contract, ctx.run.workload, ctx.settings.project)
    snapshot = source.fetch(ctx.run.as_of)
    folder = ctx.artifacts / "snapshot"
    folder.mkdir(parents=True, exist_ok=True)
    snapshot.table.write_parquet(folder / "table.parquet", compression="zstd", row_group_size=1_000_000)
    about = describe(snapshot, contract, ctx.run.source.kind, ctx.run.as_of)
    write_json(folder / "about.json", about)
    ctx.summary("snapshot", {key: about[key] for key in ("rows", "entities", "first_date", "last_date")})


def describe(snapshot: Snapshot, contract: TableContract, source: str, as_of: date) -> Mapping[str, Any]:
    """Facts of the rows, for the run's page and for the next night's volume check.

    `mean_target`: over the finite targets. Columns that are missing or of another type leave null.
    """
    table = snapshot.table
    entity = [column for column in contract.entity if column in table.columns]
    days = table[contract.date] if table.schema.get(contract.date) == pl.Date else pl.Series(dtype=pl.Date)
    first, last = days.min(), days.max()
    mean = None
    if contract.target in table.columns and table.schema[contract.target].is_numeric():
        target = table[contract.target].cast(pl.Float64)
        mean = target.filter(target.is_finite()).mean()
    about: dict[str, Any] = {
        "source": source,
        "rows": table.height,
        "entities": table.select(entity).n_unique() if entity and table.height else 0,
        "first_date": first.isoformat() if isinstance(first, date) else None,
        "last_date": last.isoformat() if isinstance(last, date) else None,
        "mean_target": mean,
        "as_of": as_of.isoformat(),
        "notes": list(snapshot.notes),
    }
    if snapshot.shift_weeks is not None:
        about["shift_weeks"] = snapshot.shift_weeks
    if snapshot.unreadable is not None:
        about["unreadable"] = snapshot.unreadable
    return about
