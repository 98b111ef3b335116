"""Forecasts are kept, append-only: `<workload>/<as_of>/<release>.parquet`, with a manifest as JSON beside it.

Those of a candidate in shadow lie apart, `_shadow/<workload>/<run_id>/<as_of>.parquet`: an underscore begins no
workload's name, so nobody who reads forecasts takes them for a release's.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from io import BytesIO

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import IntegrityError, UnavailableError
from tasks.core.storage import ObjectExists, ObjectStore, require_fence
from tasks.releases.ledger import Entry
from tasks.scoring.raw import Raw

SHADOW = "_shadow"


class Made(BaseModel):
    """Made names the release and the raw tables that forecasts were made of.

    `manifest_sha256`, `model_sha256`: the release's own digest and its model's, as the ledger has them. `tables`:
    SHA-256 of each raw table's Parquet file. `run_id`: of the night whose snapshot was scored, empty if it was none's.
    `candidate`: empty, or the run whose candidate in shadow made them. Then `release` is the champion beside which it
    did, `model_sha256` the candidate's, and `manifest_sha256` empty, for it is no release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workload: str
    as_of: date
    release: int
    manifest_sha256: str
    model_sha256: str
    tables: Mapping[str, str]
    run_id: str = ""
    candidate: str = Field(default="", exclude_if=lambda run_id: not run_id)

    @property
    def stem(self) -> str:
        """Return the key of the first file of such forecasts, without its ending."""
        if self.candidate:
            return f"{SHADOW}/{self.workload}/{self.candidate}/{self.as_of}"
        return f"{self.workload}/{self.as_of}/{self.release}"

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
    stem, fresh = append(store, made.stem, content)
    key = f"{stem}.json"
    if fresh or not store.exists(key):
        manifest = Manifest(
            **made.model_dump(),
            sha256=hashlib.sha256(content).hexdigest(),
            rows=rows,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        fresh = _created(store, key, manifest.to_bytes())  # of two that made the same forecasts at once, one did
    return Kept(key, again=not fresh)


def append(store: ObjectStore, stem: str, content: bytes) -> tuple[str, bool]:
    """Write `<stem>.parquet`, or `<stem>-2.parquet` and so on where other bytes are there already.

    Returns the stem with its number, and whether these bytes were not the last ones there. Raises the errors of `keep`.
    """
    require_fence(store)
    number = 1
    while store.exists(f"{numbered(stem, number + 1)}.parquet"):
        number += 1
    while not (fresh := _created(store, f"{numbered(stem, number)}.parquet", content)):
        if _there(store, f"{numbered(stem, number)}.parquet") == content:
            break
        number += 1
    return numbered(stem, number), fresh


def numbered(stem: str, number: int) -> str:
    """Return the name of the `number`th file of one kind."""
    return f"{stem}-{number}" if number > 1 else stem


@dataclass(frozen=True)
class Found:
    """Found is the newest kept file of a day and release. `key`: of its manifest."""

    as_of: date
    release: int
    key: str


NAME = re.compile(r"[^/]+/(\d{4}-\d\d-\d\d)/(\d+)(?:-(\d+))?\.json")


def found(store: ObjectStore, workload: str) -> list[Found]:
    """Return what is kept of a workload, one line a day and release, oldest day first."""
    newest: dict[tuple[date, int], tuple[int, str]] = {}
    for key in store.keys(f"{workload}/"):
        if name := NAME.fullmatch(key):
            place = date.fromisoformat(name[1]), int(name[2])
            newest[place] = max(newest.get(place, (0, "")), (int(name[3] or 1), key))
    return [Found(*place, key) for place, (_, key) in sorted(newest.items())]


def numbers(store: ObjectStore, newest: str) -> Iterator[str]:
    """Yield the manifests' keys of the same day and release as the newest one's, the newest first."""
    number = int(name[3] or 1) if (name := NAME.fullmatch(newest)) else 1
    stem = newest.removesuffix(".json").removesuffix(f"-{number}" if number > 1 else "")
    for each in range(number, 0, -1):
        if store.exists(key := f"{numbered(stem, each)}.json"):  # a killed attempt left none
            yield key


IN_SHADOW = re.compile(rf"{SHADOW}/[^/]+/([^/]+)/(\d{{4}}-\d\d-\d\d)(?:-(\d+))?\.json")


def found_in_shadow(store: ObjectStore, workload: str) -> dict[str, dict[date, str]]:
    """Return the newest manifest's key of each day that a candidate forecast, by the candidate's run."""
    newest: dict[str, dict[date, tuple[int, str]]] = defaultdict(dict)
    for key in store.keys(f"{SHADOW}/{workload}/"):
        if name := IN_SHADOW.fullmatch(key):
            days, day = newest[name[1]], date.fromisoformat(name[2])
            days[day] = max(days.get(day, (0, "")), (int(name[3] or 1), key))
    return {run_id: {day: key for day, (_, key) in sorted(days.items())} for run_id, days in newest.items()}


def read(store: ObjectStore, key: str) -> tuple[Manifest, pl.DataFrame]:
    """Return a manifest and its forecasts. Raises IntegrityError when they are gone or not those that were kept."""
    try:
        manifest = Manifest.model_validate_json(store.read(key))
        content = store.read(f"{key.removesuffix('.json')}.parquet")
    except (KeyError, ValidationError) as error:
        raise IntegrityError(f"{store.url(key)}: no manifest with its forecasts; restore both from a copy") from error
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        url = store.url(f"{key.removesuffix('.json')}.parquet")
        raise IntegrityError(f"{url}: not the forecasts that their manifest names; restore them from a copy")
    return manifest, pl.read_parquet(BytesIO(content))


def _created(store: ObjectStore, key: str, data: bytes) -> bool:
    try:
        store.create(key, data)
    except ObjectExists:
        return False
    return True


def _there(store: ObjectStore, key: str) -> bytes:
    try:
        return store.read(key)
    except KeyError:  # S3 answers so while another write is under way
        raise UnavailableError(f"{store.url(key)}: is being written by another process; try again") from None
