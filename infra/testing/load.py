"""This measures how many requests the scoring service answers on this machine, and how fast (`make load-test`).

    python -m infra.testing.load [--connections 1 8 64] [--seconds 5] [--rows 1] [--workload sales] [--out load.json]
        [--table rows.json --as-of 2026-11-28]

Runs in the serving environment. Starts the service on a small release that is made for it, or with --workload on the
champion of NIGHTSTILL_RELEASE_STORE, and asks it over so many kept-alive connections at once; each sends its next
request when it has its answer. With --table, a file of the workload's own rows (.json: records, .csv, .parquet,
.arrow: a stream), /v1/score is asked instead of /v1/predict. Client and service share the machine's cores, so the
figures are a lower bound.
"""

import argparse
import asyncio
import http.client
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import uvloop
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rich.console import Console
from rich.table import Table

from infra.local.environments import PROJECT
from serving.client import Champion, Model
from serving.contract import Codes, Contract
from serving.service.bodies import JSON, SAFETENSORS
from tasks.core.storage import open_store
from tasks.releases.store import ReleaseStore
from tasks.scoring.rows import ARROW, CSV, PARQUET

STARTED = re.compile(r"running on http://127\.0\.0\.1:(\d+)")
WARM_UP_SECONDS = 1.0
# A week's sales and four weeks' plans in, quantiles of four weeks out: the form of a small forecasting student.
HISTORY, FUTURE, OUTPUT, HIDDEN = (56, 2), (28, 5), (28, 3), 32


@dataclass(frozen=True)
class Figures:
    """Figures are the result of one load. Times in milliseconds; `answers`: how many by status code."""

    form: str
    connections: int
    rows: int
    seconds: float
    per_second: float
    p50: float
    p99: float
    answers: dict[int, int]


@dataclass(frozen=True)
class Asked:
    """This is one request: its path, media type, and number of the model's rows."""

    path: str
    form: str
    body: bytes
    rows: int


def main() -> int:
    """Print the table. Returns 1 if any request was not answered with 200."""
    parser = argparse.ArgumentParser(prog="load", description="Load of the scoring service on this machine")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--workload", help="the champion of NIGHTSTILL_RELEASE_STORE instead of a made one")
    parser.add_argument("--table", type=Path, help="rows of the --workload's own table, for /v1/score")
    parser.add_argument("--as-of", help="last day whose values are known")
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = os.environ.get("NIGHTSTILL_RELEASE_STORE") or str(PROJECT / ".nightstill" / "releases")
        if not arguments.workload:
            store = f"{folder}/releases"
            publish_small(store)
        workload = arguments.workload or "small"
        model = Champion.open(store, workload, cache=f"{folder}/cache").model
        found = []
        with service(store, workload, Path(folder) / "cache") as port:
            for request in requests(model, arguments):
                for connections in arguments.connections:
                    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                        found.append(runner.run(load(port, request, connections, arguments.seconds)))
    show(found)
    if arguments.out:
        about = {"cores": os.cpu_count(), "busy": os.getloadavg()[0], "figures": [asdict(item) for item in found]}
        arguments.out.write_text(json.dumps(about, indent=1) + "\n")
    return 0 if all(set(item.answers) == {200} for item in found) else 1


def show(found: Sequence[Figures]) -> None:
    """Print the table of all loads."""
    load_now = f"{os.cpu_count()} cores shared with the client, load average {os.getloadavg()[0]:.1f}"
    table = Table("form", "rows", "connections", "requests/s", "rows/s", "p50 ms", "p99 ms", "answers", title=load_now)
    for column in table.columns[1:7]:
        column.justify = "right"
    for item in found:
        answers = ", ".join(f"{count:,} × {code}" for code, count in sorted(item.answers.items()))
        numbers = (
            f"{item.per_second:,.0f}",
            f"{item.per_second * item.rows:,.0f}",
            f"{item.p50:.2f}",
            f"{item.p99:.2f}",
        )
        table.add_row(item.form.rpartition("/")[2], str(item.rows), str(item.connections), *numbers, answers)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@contextmanager
def service(store: str, workload: str, cache: Path, **settings: str) -> Iterator[int]:
    """Start the service as a process of its own, ready to answer; gives its port. `settings`: further ones, by name."""
    with started(store, workload, cache, **settings) as (port, _):
        yield port


@contextmanager
def started(store: str, workload: str, cache: Path, **settings: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Start it as `service` does, and give the process, too. It is stopped in the end, and must end in order."""
    told = {
        "NIGHTSTILL_RELEASE_STORE": store,
        "NIGHTSTILL_SERVING_WORKLOAD": workload,
        "NIGHTSTILL_SERVING_CACHE": str(cache),
        "NIGHTSTILL_SERVING_PORT": "0",
        **{f"NIGHTSTILL_{name}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "serving"]
    process = subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **told}, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        port = _port(process)
        # A pipe that nobody reads would be full some day, and stop the service.
        threading.Thread(target=_read_on, args=(process,), daemon=True).start()
        _wait_until_ready(port)
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=30)


def _port(process: "subprocess.Popen[str]") -> int:
    """Return the port that it prints when it listens. Raises RuntimeError with its log if it ends instead."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if match := STARTED.search(line):
            return int(match[1])
    raise RuntimeError(f"the service did not start:\n{''.join(said)}")


def _read_on(process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    for _ in process.stderr:
        pass


def _wait_until_ready(port: int) -> None:
    for _ in range(600):
        if _status(port, "/readyz") == 200:
            return
        time.sleep(0.05)
    raise RuntimeError("the service has no champion to serve after 30 s")


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


async def load(port: int, request: Asked, connections: int, seconds: float) -> Figures:
    """Send the same request over and over for so many seconds, after a second that does not count."""
    times: list[float] = []
    answers: Counter[int] = Counter()
    begin = time.perf_counter() + WARM_UP_SECONDS
    end = begin + seconds

    async def ask() -> None:
        connection = await Connection.open(port)
        while (start := time.perf_counter()) < end:
            code, _ = await connection.post(request.path, request.form, request.body)
            if start >= begin:
                times.append(time.perf_counter() - start)
                answers[code] += 1
        connection.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    p50, p99 = (1000 * float(part) for part in np.percentile(times, [50, 99]))
    return Figures(request.form, connections, request.rows, seconds, len(times) / seconds, p50, p99, dict(answers))


class Connection:
    """A connection is kept alive, with as little of HTTP as the service needs: the client must not be the slow part."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to the service on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, form: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer."""
        head = f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Type: {form}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", told)
        assert length is not None
        return int(told[9:12]), await self._reader.readexactly(int(length[1]))

    def close(self) -> None:
        """End it."""
        self._writer.close()


def requests(model: Model, arguments: argparse.Namespace) -> Iterator[Asked]:
    """Yield the requests, one after the other."""
    if arguments.table is None:
        for rows in arguments.rows:
            for form, body in bodies(random_inputs(model.contract, model.names, rows)).items():
                yield Asked("/v1/predict", form, body, rows)
        return
    body = arguments.table.read_bytes()
    form = {".json": JSON, ".csv": CSV, ".parquet": PARQUET, ".arrow": ARROW}[arguments.table.suffix]
    if form == JSON:
        body = json.dumps({"rows": json.loads(body)}).encode()
    yield Asked(f"/v1/score?as_of={arguments.as_of}", form, body, 1)


def bodies(inputs: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Return the same request in both forms."""
    lists = {name: array.tolist() for name, array in inputs.items()}
    return {JSON: json.dumps({"inputs": lists}).encode(), SAFETENSORS: safetensors.numpy.save(dict(inputs))}


def random_inputs(contract: Contract, names: Sequence[str], rows: int) -> dict[str, NDArray[Any]]:
    """Return values that the contract allows, for the inputs that the model reads."""
    rng = np.random.default_rng(0)
    found: dict[str, NDArray[Any]] = {}
    for name in names:
        item = contract.inputs[name]
        if isinstance(item, Codes):
            drawn = [rng.integers(book.first, book.last + 1, rows) for book in item.books]
            found[name] = np.stack(drawn, axis=1).astype(item.dtype)
        else:
            found[name] = rng.random((rows, *item.shape)).round(3).astype(item.dtype)
    return found


def small_model(inputs: Mapping[str, Sequence[int]], output: Sequence[int]) -> bytes:
    """Return ONNX bytes of a network of one hidden layer with random weights, over float inputs of these shapes."""
    rng = np.random.default_rng(0)
    sizes = (sum(math.prod(shape) for shape in inputs.values()), HIDDEN, math.prod(output))
    weights = [rng.normal(0, 0.05, size).astype(np.float32) for size in (sizes[:2], sizes[1:])]
    nodes = [helper.make_node("Flatten", [name], [f"flat_{name}"]) for name in inputs]
    nodes += [
        helper.make_node("Concat", [f"flat_{name}" for name in inputs], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "first"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "second"], ["e"]),
        helper.make_node("Reshape", ["e", "shape"], ["output"]),
    ]

    def value(name: str, shape: Sequence[int]) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, weight.shape, weight.ravel())
        for name, weight in zip(("first", "second"), weights, strict=True)
    ]
    constants.append(helper.make_tensor("shape", TensorProto.INT64, [1 + len(output)], [-1, *output]))
    values = [value(name, shape) for name, shape in inputs.items()]
    graph = helper.make_graph(nodes, "small", values, [value("output", output)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def publish_small(store: str) -> None:
    """Publish a release of workload `small`."""
    contract = {
        "problem": "forecasting",
        "inputs": {"history": ["float32", HISTORY], "future": ["float32", FUTURE]},
        "order": ["history", "future"],
        "output_shape": OUTPUT,
        "categories": {},
        "statistics": {},
        "settings": {},
    }
    model = small_model({"history": HISTORY, "future": FUTURE}, OUTPUT)
    publish(store, {"model.onnx": model, "contract.json": json.dumps(contract).encode()})


def publish(store: str, files: Mapping[str, bytes], workload: str = "small") -> None:
    """Publish a release of a workload with these files."""
    releases = ReleaseStore(open_store(store), workload)
    releases.publish(files, expected=0, run_id="load", as_of=date(2026, 1, 1), reason="made for a load test")


if __name__ == "__main__":
    raise SystemExit(main())
