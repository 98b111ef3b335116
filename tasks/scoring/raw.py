"""This module reads raw tables to forecast from: a run's validated snapshot, or the source as of a day."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from tasks.core.errors import DataError, IntegrityError, NotYetError
from tasks.core.settings import Settings
from tasks.pipeline.handover.queries import read_output
from tasks.pipeline.handover.run_store import RunStore
from tasks.tables.sources.about import write
from tasks.tables.sources.base import Source
from tasks.tables.table import TableContract
from tasks.tables.validation.freshness import missing
from tasks.tables.validation.options import Checks


@dataclass(frozen=True)
class Raw:
    """Raw holds tables by name, as of the evening of `as_of`. `known_digests`: SHA-256 of each by its snapshot."""

    tables: Mapping[str, pl.DataFrame]
    as_of: date
    known_digests: Mapping[str, str] = field(default_factory=dict)

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each table's Parquet file, as a snapshot has it."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "table.parquet"
            return {name: self.known_digests.get(name) or write(table, path) for name, table in self.tables.items()}


@dataclass(frozen=True)
class Complete:
    """Complete decides whether tables reach up to a day: it holds their contracts and the workload's thresholds."""

    contracts: tuple[TableContract, ...]
    checks: Checks


def of_run(settings: Settings, workload: str, run_id: str) -> Raw:
    """Return the snapshot of a run.

    Raises UsageError when there is no such run, NotYetError when its data were not found valid, IntegrityError when
    they are gone.
    """
    store = RunStore(settings.runs())
    as_of = date.fromisoformat(store.run_info(workload, run_id)["as_of"])
    valid = store.manifest(workload, run_id, "validate")
    if valid is None or not valid.finished:
        said = f"`nightstill show {workload} --run-id {run_id}` says why"
        raise NotYetError(f"run {run_id} of {workload}: its data were not found valid; {said}")
    about = json.loads(_output(settings, workload, run_id, "about.json"))
    digests = {name: facts["sha256"] for name, facts in about["tables"].items()}
    found = {name: _output(settings, workload, run_id, f"tables/{name}.parquet") for name in digests}
    return Raw({name: pl.read_parquet(BytesIO(data)) for name, data in found.items()}, as_of, digests)


def _output(settings: Settings, workload: str, run_id: str, name: str) -> bytes:
    try:
        data = read_output(settings, workload, run_id, "snapshot", f"artifacts/snapshot/{name}")
    except KeyError:
        data = None
    if data is None:
        raise IntegrityError(
            f"snapshot of run {run_id}: {name} is gone from {settings.dvc_remote}; score the source, with --as-of"
        )
    return data


def of_source(source: Source, as_of: date, complete: Complete | None = None) -> Raw:
    """Return the source's tables. Raises NotYetError if they are not `complete`, unless that is None.

    Raises DataError when a table cannot be parsed.
    """
    snapshot = source.fetch(as_of)
    if complete and (reason := missing(snapshot, complete.contracts, complete.checks, as_of)):
        raise NotYetError(f"the data up to {as_of} have not come: {reason}")
    for reason in snapshot.unreadable.values():
        raise DataError(reason)
    return Raw(snapshot.tables, as_of)
