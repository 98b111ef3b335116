"""A process of its own reads the bodies that cost much to read, and may die of them.

A Parquet or Arrow file that lies about itself makes polars allocate without bounds, which ends the process: a few
spoilt bytes must not end the service. And reading megabytes of JSON, or of odd CSV, holds Python's lock for a tenth
of a second or more, in which nobody else is answered. The process writes its answers anew, so they are sound.
"""

import json
import multiprocessing
import os
import resource
import threading
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import polars as pl
import safetensors.numpy
from numpy.typing import NDArray

from serving.client import Contract, InputError
from serving.service.bodies import JSON, BadBody, arrays_of
from serving.service.http import Refused
from serving.service.records import tables_of
from tasks.core.errors import DataError, RuleError
from tasks.scoring.rows import CSV, PARQUET, from_arrow, from_csv, from_parquet
from tasks.tables.table import TableContract

APART_BYTES = 262_144  # of a body; a smaller one is read sooner than it is sent to another process
SECONDS, START_SECONDS = 20.0, 60.0
NICE = 5  # small requests, which are many, go first where cores are few
ADDRESS_SPACE = 3 << 30

Answer = tuple[Any, list[bytes]]
"""An answer has its plain values first, then the bytes to hand back."""


class Reader:
    """A reader has a process, started on first need and after each that died. Safe in many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def read(self, media_type: str, content: bytes, contract: TableContract, rows: int, size: int) -> pl.DataFrame:
        """Read the contract's columns of a file of at most `rows` rows and `size` bytes. Raises DataError."""
        _, (table,) = self._ask("file", media_type, content, contract, rows, size)
        return pl.read_ipc_stream(BytesIO(table))

    def records(
        self, body: bytes, contracts: Sequence[TableContract], limit: int
    ) -> tuple[dict[str, pl.DataFrame], str | None]:
        """Read a JSON body's tables and `as_of`, as `tables_of` gives them. Raises DataError, Refused."""
        (names, said), tables = self._ask("records", body, contracts, limit)
        return {name: pl.read_ipc_stream(BytesIO(table)) for name, table in zip(names, tables, strict=True)}, said

    def arrays(
        self, body: bytes, contract: Contract, needed: tuple[str, ...], max_rows: int
    ) -> Mapping[str, NDArray[Any]]:
        """Read the arrays of a JSON body, as `arrays_of` gives them. Raises BadBody, InputError."""
        try:
            _, (arrays,) = self._ask("arrays", body, contract, needed, max_rows)
        except DataError as error:
            raise BadBody(str(error)) from None
        found: Mapping[str, NDArray[Any]] = safetensors.numpy.load(arrays)
        return found

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _ask(self, what: str, *arguments: object) -> Answer:
        """Ask the process. Raises the errors of reading there, and DataError when the process died of it."""
        with self._lock:
            try:
                connection = self._started()
                connection.send((what, arguments))
                if connection.poll(SECONDS):
                    error, told, count = json.loads(connection.recv_bytes())
                    parts = [connection.recv_bytes() for _ in range(count)]
                    if error is None:
                        return told, parts
                    raise ERRORS[error](*told)
            except (EOFError, OSError):
                pass
            self.stop()
        raise DataError("the body cannot be read: it is damaged, or asks for too much memory")

    def _started(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self.stop()
            context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs,), name="reader", daemon=True)
            self._process.start()
            theirs.close()
            if not self._connection.poll(START_SECONDS):
                raise EOFError
            self._connection.recv_bytes()
        return self._connection


def serve(connection: Connection) -> None:
    """Answer until the other end is closed. Memory is bounded: a body that needs more ends this process."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send_bytes(b"ready")
    os.nice(NICE)
    while True:
        try:
            what, arguments = connection.recv()
        except (EOFError, OSError):
            return
        error, parts = None, list[bytes]()
        try:
            told, parts = WORK[what](*arguments)
        except (DataError, Refused, BadBody, InputError) as raised:
            error, told = _shown(raised)
        except MemoryError:
            error, told = _shown(DataError("the body asks for too much memory"))
        connection.send_bytes(json.dumps((error, told, len(parts))).encode())
        for part in parts:
            connection.send_bytes(part)


def _file(media_type: str, content: bytes, contract: TableContract, rows: int, size: int) -> Answer:
    if media_type == CSV:
        return None, [_stream(from_csv(content, contract, rows))]
    return None, [_stream((from_parquet if media_type == PARQUET else from_arrow)(content, contract, rows, size))]


def _records(body: bytes, contracts: Sequence[TableContract], limit: int) -> Answer:
    tables, said = tables_of(body, contracts, limit)
    return (list(tables), said), [_stream(table) for table in tables.values()]


def _arrays(body: bytes, contract: Contract, needed: tuple[str, ...], max_rows: int) -> Answer:
    return None, [safetensors.numpy.save(arrays_of(body, JSON, contract, needed, max_rows))]


def _stream(table: pl.DataFrame) -> bytes:
    file = BytesIO()
    table.write_ipc_stream(file)
    return file.getvalue()


def _shown(error: Exception) -> tuple[str, tuple[object, ...]]:
    """Return an error's name and the arguments to make it again."""
    match error:
        case RuleError():
            return "rule", (str(error), error.column, error.rule, error.row)
        case Refused():
            return "refused", (error.status, str(error), error.field, error.headers, error.rule, error.row)
        case InputError():
            return "input", (error.field, str(error).removeprefix(f"{error.field}: " if error.field else ""))
        case BadBody():
            return "bad", (str(error),)
    return "data", (str(error),)


WORK: Mapping[str, Callable[..., Answer]] = {"file": _file, "records": _records, "arrays": _arrays}
ERRORS: Mapping[str, Callable[..., Exception]] = {
    "rule": RuleError,
    "refused": Refused,
    "input": InputError,
    "bad": BadBody,
    "data": DataError,
}
