"""Parquet and Arrow files of strangers are read in a process of their own, which may die of them.

A file that lies about itself makes polars allocate without bounds, which ends the process: a few spoilt bytes must not
end the service. What comes back was written anew, so it holds together.
"""

import json
import multiprocessing
import resource
import threading
from io import BytesIO
from multiprocessing.connection import Connection

import polars as pl

from tasks.core.errors import DataError, RuleError
from tasks.scoring.rows import PARQUET, from_arrow, from_parquet
from tasks.tables.table import TableContract

SECONDS = 20.0
ADDRESS_SPACE = 3 << 30
TABLE, ERROR = b"T", b"E"


class Reader:
    """One such process, started when it is first needed and after each that died. Safe in many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def read(self, media_type: str, content: bytes, contract: TableContract, rows: int, size: int) -> pl.DataFrame:
        """The contract's columns of a file of at most `rows` rows and `size` bytes. Raises DataError."""
        with self._lock:
            answer = self._ask((media_type, content, contract, rows, size))
        if answer[:1] == ERROR:
            message, column, rule, row = json.loads(answer[1:])
            raise DataError(message) if rule is None else RuleError(message, column, rule, row)
        return pl.read_ipc_stream(BytesIO(answer[1:]))

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _ask(self, request: object) -> bytes:
        try:
            connection = self._started()
            connection.send(request)
            if connection.poll(SECONDS):
                return connection.recv_bytes()
        except (EOFError, OSError):
            pass
        self.stop()
        return _error(DataError("the body cannot be read: it is damaged, or asks for too much memory"))

    def _started(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self.stop()
            context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs,), name="reader", daemon=True)
            self._process.start()
            theirs.close()
        return self._connection


def serve(connection: Connection) -> None:
    """Answer until the other end is closed. Memory is bounded: what is beyond it ends this process."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            media_type, content, contract, rows, size = connection.recv()
        except (EOFError, OSError):
            return
        try:
            table = (from_parquet if media_type == PARQUET else from_arrow)(content, contract, rows, size)
            file = BytesIO()
            table.write_ipc_stream(file)
            answer = TABLE + file.getvalue()
        except DataError as error:
            answer = _error(error)
        except MemoryError:
            answer = _error(DataError("the body asks for too much memory"))
        connection.send_bytes(answer)


def _error(error: DataError) -> bytes:
    told = (error.column, error.rule, error.row) if isinstance(error, RuleError) else ("", None, None)
    return ERROR + json.dumps((str(error), *told)).encode()
