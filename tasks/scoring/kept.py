"""Forecasts are kept, append-only: `<workload>/<as_of>/<release>.parquet`, with a manifest as JSON beside it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pydantic import BaseModel, ConfigDict

from tasks.core.errors import UnavailableError
from tasks.core.storage import ObjectExists, ObjectStore, require_fence
from tasks.releases.ledger import Entry
from tasks.scoring.raw import Raw


class Made(BaseModel):
    """Made names the release and the raw tables that forecasts were made of.

    `manifest_sha256`, `model_sha256`: the release's own digest and its model's, as the ledger has them. `tables`:
    SHA-256 of each raw table's Parquet file. `run_id`: of the night whose snapshot was scored, empty if it was none's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str
    as_of: date
    release: int
    manifest_sha256: str
    model_sha256: str
    tables: Mapping[str, str]
    run_id: str = ""

    @classmethod
    def of(cls, workload: str, entry: Entry, raw: Raw, run_id: str) -> "Made":
        """Identify the forecasts that the release of a ledger `entry` makes of raw tables."""
        return cls(
            workload=workload,
            as_of=raw.as_of,
            release=entry.release,
            manifest_sha256=entry.manifest_sha256,
            model_sha256=entry.model_sha256,
            tables=raw.digests(),
            run_id=run_id,
        )


class Manifest(Made):
    """A manifest is the JSON beside kept forecasts. `sha256`: of the Parquet file; `created`: UTC."""

    sha256: str
    rows: int
    created: str

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return (self.model_dump_json(indent=1) + "\n").encode()


@dataclass(frozen=True)
class Kept:
    """Kept says where forecasts are. `key`: of their manifest; `again`: whether the same bytes were there already."""

    key: str
    again: bool


def keep(store: ObjectStore, content: bytes, rows: int, made: Made) -> Kept:
    """Keep a Parquet file of forecasts, which is never replaced.

    Bytes that equal those kept last for this day and release are not kept a second time. Others, as after a late
    correction of the data, get a file of their own: `<release>-2.parquet`, then `-3`, …; the highest number holds.
    The manifest is written last, so forecasts without one are what a killed attempt left: the next one completes them.
    Raises ConfigError when the store cannot keep objects from being replaced, UnavailableError when it does not answer.
    """
    require_fence(store)
    number = 1
    while store.exists(f"{_stem(made, number + 1)}.parquet"):
        number += 1
    while not (fresh := _created(store, f"{_stem(made, number)}.parquet", content)):
        if _there(store, f"{_stem(made, number)}.parquet") == content:
            break
        number += 1
    key = f"{_stem(made, number)}.json"
    if fresh or not store.exists(key):
        manifest = Manifest(
            **made.model_dump(),
            sha256=hashlib.sha256(content).hexdigest(),
            rows=rows,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        fresh = _created(store, key, manifest.to_bytes())  # of two that made the same forecasts at once, one did
    return Kept(key, again=not fresh)


def _created(store: ObjectStore, key: str, data: bytes) -> bool:
    try:
        store.create(key, data)
    except ObjectExists:
        return False
    return True


def _stem(made: Made, number: int) -> str:
    return f"{made.workload}/{made.as_of}/{made.release}" + (f"-{number}" if number > 1 else "")


def _there(store: ObjectStore, key: str) -> bytes:
    try:
        return store.read(key)
    except KeyError:  # S3 answers so while another write is under way
        raise UnavailableError(f"{store.url(key)}: is being written by another process; try again") from None
