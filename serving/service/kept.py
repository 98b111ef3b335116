"""Raw rows of what the service is asked are kept as Parquet files, where a setting names a folder for them.

`<folder>/<workload>/<day>/<table>-<time>-<id>.parquet`, days and times in UTC. A thread of its own writes them: no
request waits for a disk, and rows that the disk does not take, or not in time, are dropped and counted.
"""

import logging
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import polars as pl
from prometheus_client import CollectorRegistry, Counter

from serving.service.settings import ServiceSettings

log = logging.getLogger(__name__)

FLUSH_SECONDS = 60.0
FLUSH_BYTES = 16 * 2**20
"""So much is written sooner."""
WAITING_BYTES = 64 * 2**20
"""What waits for the disk, and is being written, takes no more memory than that."""
TIDY_SECONDS = 3600.0
END_SECONDS = 5.0
ROOM = 0.9
"""Of the bytes that are allowed so many are left, so that not each new file takes an old one away."""
FILE = re.compile(r"[^/]+-\d{6}-[0-9a-f]{32}\.parquet(\.part)?")
BEHIND, UNWRITABLE = "behind", "unwritable"


@dataclass(frozen=True)
class AskedTable:
    """An AskedTable is one table of a request, as it was sent and found good, and what was asked of it."""

    name: str
    table: pl.DataFrame
    release: int
    as_of: date | None
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def size(self) -> int:
        """Return bytes of its rows in memory."""
        return int(self.table.estimated_size())


class KeptRequests:
    """KeptRequests keeps requests below the settings' folder, and does nothing without one."""

    def __init__(self, settings: ServiceSettings, registry: CollectorRegistry | None = None) -> None:
        self.on = settings.keep_requests is not None
        self._folder = (settings.keep_requests or Path()) / settings.workload
        self._days, self._most_bytes = settings.keep_days, settings.keep_bytes
        self._waiting: list[AskedTable] = []
        self._held = 0  # bytes of those that wait and of those that are being written
        self._bytes = 0  # of the files, as far as this process knows
        self._problem = ""
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="kept-requests", daemon=True)
        self.kept = Counter("nightstill_requests_kept", "Requests whose rows were written", registry=registry)
        self.dropped = Counter(
            "nightstill_requests_not_kept", "Requests whose rows were dropped, and why", ["reason"], registry=registry
        )
        for reason in (BEHIND, UNWRITABLE):
            self.dropped.labels(reason)  # a rule of alerts sees the zero

    def start(self) -> None:
        """Begin to write."""
        if self.on:
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, for a few seconds at most."""
        if not self.on:
            return
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(END_SECONDS)

    def keep(self, request: AskedTable) -> None:
        """Take a table to be written later. Nobody waits for the disk, and nothing is raised."""
        if not self.on:
            return
        size = request.size
        with self._changed:
            if self._held + size > WAITING_BYTES:
                self.dropped.labels(BEHIND).inc()
                return
            self._waiting.append(request)
            self._held += size
            if self._held >= FLUSH_BYTES:
                self._changed.notify()

    def _run(self) -> None:
        tidied, ending = -TIDY_SECONDS, False
        while not ending:
            with self._changed:
                self._changed.wait_for(lambda: self._ending or self._held >= FLUSH_BYTES, FLUSH_SECONDS)
                taken, self._waiting, ending = self._waiting, [], self._ending
            self._write_all(taken)
            with self._changed:
                self._held -= sum(request.size for request in taken)
            if self._bytes > self._most_bytes or time.monotonic() - tidied > TIDY_SECONDS:
                tidied = time.monotonic()
                self._tidy()

    def _write_all(self, requests: list[AskedTable]) -> None:
        alike: defaultdict[tuple[object, ...], list[AskedTable]] = defaultdict(list)
        for request in requests:
            alike[request.name, request.asked_at.date(), tuple(request.table.schema.items())].append(request)
        for group in alike.values():
            try:
                self._write(group)
            except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 the thread goes on, whatever a disk does
                self.dropped.labels(UNWRITABLE).inc(len(group))
                self._say(f"{type(error).__name__}: {error}")
            else:
                self.kept.inc(len(group))
                self._problem = ""

    def _write(self, requests: list[AskedTable]) -> None:
        first = requests[0]
        folder = self._folder / f"{first.asked_at:%Y-%m-%d}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{first.name}-{first.asked_at:%H%M%S}-{uuid4().hex}.parquet"
        part = path.with_name(f"{path.name}.part")
        try:
            with _created(part) as file:
                _together(requests).write_parquet(file)
            self._bytes += part.stat().st_size
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)  # of a disk that is full, the half is room
            raise

    def _tidy(self) -> None:
        """Remove files of days that are over, then the oldest until the rest is small enough. Others are let be."""
        last_over = datetime.now(UTC).date() - timedelta(days=self._days)
        try:
            found = []
            for folder, day in self._days_kept():
                for path in folder.iterdir():
                    with suppress(FileNotFoundError):  # another process of this folder was faster
                        if not FILE.fullmatch(path.name):
                            continue
                        if day <= last_over:
                            path.unlink()
                        else:
                            about = path.stat()
                            found.append((about.st_mtime_ns, about.st_size, path))
                if day <= last_over:
                    with suppress(OSError):  # what others put there stays
                        folder.rmdir()
            self._bytes = sum(size for _, size, _ in found)
            if self._bytes > self._most_bytes:
                for _, size, path in sorted(found):
                    if self._bytes <= ROOM * self._most_bytes:
                        break
                    path.unlink(missing_ok=True)
                    self._bytes -= size
        except OSError as error:
            self._say(f"{type(error).__name__}: {error}")

    def _days_kept(self) -> Iterator[tuple[Path, date]]:
        for folder in self._folder.glob("????-??-??"):
            with suppress(ValueError):
                yield folder, date.fromisoformat(folder.name)

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("requests are not kept in %s: %s", self._folder, problem)
        self._problem = problem


def _created(path: Path) -> BinaryIO:
    """Return a new file that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _together(requests: list[AskedTable]) -> pl.DataFrame:
    """Return the rows of requests of one schema, and beside them what is known of the request."""
    return pl.concat(
        [
            request.table.with_columns(
                pl.lit(number).alias("_request"),
                pl.lit(request.asked_at).alias("_asked_at"),
                pl.lit(request.as_of, pl.Date).alias("_as_of"),
                pl.lit(request.release).alias("_release"),
            )
            for number, request in enumerate(requests)
        ]
    )
