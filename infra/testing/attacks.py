"""This attacks the scoring service, and measures how an honest client fares meanwhile (`make attack-test`).

    python -m infra.testing.attacks [--seconds 8] [--only NAME ...] [--out attacks.json]

Runs in the serving environment. For each attack a service of its own is started on a small release that is made for it.
An honest client asks for a prediction every few milliseconds, over a kept-alive connection that it opens anew when it
is closed, while the attack goes on from another process. Printed are the honest client's p50 and p99, what it was
answered, and the most memory that the service's processes ever had. All three share the machine's cores.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from infra.testing.load import Connection, bodies, publish, random_inputs, small_model, started
from serving.client import Champion
from serving.service.bodies import JSON, SAFETENSORS
from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.contracts import contract_to_json
from tasks.scoring.rows import ARROW, CSV, PARQUET

P99_MS, MEMORY_MIB = 50.0, 512.0
PROBLEM = {"kind": "forecasting", "horizon": 28, "context": 56, "season": 7, "country": "US", "static": ["store_id"]}
READ = ("units", "future")  # by the model, of the contract's inputs
PAUSE_SECONDS = 0.005  # of the honest client between its requests
RECOMMEND = "recommend: "  # attacks on that endpoint are called so
ITEMS, HISTORY, WIDTH = 1682, 50, 16  # of a release that recommends
AT_ONCE = 8  # threads of an attack that sends requests


@dataclass(frozen=True)
class Stood:
    """This is one attack. Times in milliseconds, memory in MiB; `lost`: new connections of the honest client."""

    attack: str
    requests: int
    p50: float
    p99: float
    most: float
    answers: dict[int, int]
    lost: int
    memory: float
    attacked: dict[str, int]


def main() -> int:
    """Print the table. Returns 1 if a target is missed or an honest request was not answered with 200."""
    parser = argparse.ArgumentParser(prog="attacks", description="Attacks on the scoring service on this machine")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=[*ATTACKS], default=[*ATTACKS])
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/releases"
        publish_forecasts(store)
        publish_items(store)
        found = [stand(name, store, Path(folder) / "cache", arguments.seconds) for name in arguments.only]
    show(found)
    if arguments.out:
        about = {"cores": os.cpu_count(), "busy": os.getloadavg()[0], "attacks": [asdict(item) for item in found]}
        arguments.out.write_text(json.dumps(about, indent=1) + "\n")
    good = [item.p99 < P99_MS and item.memory < MEMORY_MIB and set(item.answers) == {200} for item in found]
    return 0 if all(good) else 1


def publish_forecasts(store: str) -> None:
    """Publish a release of workload `small` that takes rows as well as arrays."""
    contract = get_problem(Spec.model_validate(PROBLEM)).draft_contract()
    files = {
        "model.onnx": small_model({name: contract.inputs[name][1] for name in READ}, contract.output_shape),
        "contract.json": json.dumps(contract_to_json(contract)).encode(),
        "run.yaml": json.dumps({"problem": PROBLEM, "checks": {"max_units": 5000}}).encode(),
    }
    publish(store, files)


def publish_items(store: str) -> None:
    """Publish a release of workload `items` that recommends: the sum of a history's item vectors asks for the next."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (ITEMS + 1, WIDTH)).astype(np.float32)
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["vectors", "history"], ["read"]),
            helper.make_node("ReduceSum", ["read", "axes"], ["user"], keepdims=0),
            helper.make_node("MatMul", ["user", "answers"], ["output"]),
        ],
        "items",
        [helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", HISTORY])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", ITEMS])],
        [numpy_helper.from_array(vectors, "vectors"), numpy_helper.from_array(vectors[1:].T.copy(), "answers"), axes],
    )
    contract = {
        "problem": "ranking",
        "inputs": {"history": ["int64", [HISTORY]]},
        "order": ["history"],
        "output_shape": [ITEMS],
        "categories": {"item": [f"i{place}" for place in range(ITEMS)]},
        "histories": {"history": {"column": "item", "first": 1}},
        "choice": 100,
        "statistics": {},
        "settings": {},
    }
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    files = {"model.onnx": model.SerializeToString(), "contract.json": json.dumps(contract).encode()}
    publish(store, files, "items")


def show(found: Sequence[Stood]) -> None:
    """Print the table of all attacks."""
    title = f"{os.cpu_count()} cores for service, attack and client, load average {os.getloadavg()[0]:.1f}"
    columns = ("attack", "requests", "p50 ms", "p99 ms", "most ms", "answers", "lost", "MiB", "the attack was answered")
    table = Table(*columns, title=title)
    for item in found:
        answers, attacked = (
            ", ".join(f"{count:,} × {code}" for code, count in sorted(codes.items()))
            for codes in (item.answers, item.attacked)
        )
        numbers = (f"{item.p50:.1f}", f"{item.p99:.1f}", f"{item.most:.0f}", answers, str(item.lost))
        table.add_row(item.attack, str(item.requests), *numbers, f"{item.memory:.0f}", attacked)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def stand(name: str, store: str, cache: Path, seconds: float) -> Stood:
    """Attack a fresh service for so many seconds: one that recommends, if that is what is attacked."""
    context = multiprocessing.get_context("spawn")
    workload = "items" if name.startswith(RECOMMEND) else "small"
    model = Champion.open(store, workload, cache=cache / "client").model
    body = bodies(random_inputs(model.contract, model.names, 1))[JSON]
    with started(store, workload, cache) as (port, process):
        answers: multiprocessing.Queue[dict[str, int]] = context.Queue()
        attacker = context.Process(target=attack, args=(name, port, seconds, answers), daemon=True)
        attacker.start()
        begun = answers.get(timeout=60)  # its bodies are made
        assert not begun
        times, codes, lost = asyncio.run(ask(port, body, seconds))
        attacked = answers.get(timeout=60)
        attacker.join(timeout=30)
        memory = sum(most_memory(pid) for pid in (process.pid, *children(process.pid)))
    p50, p99 = (1000 * float(part) for part in np.percentile(times, [50, 99]))
    return Stood(name, len(times), p50, p99, 1000 * max(times), codes, lost, memory, attacked)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in told for child in text.split()]


def most_memory(pid: int) -> float:
    """Return the most memory that a process ever had, in MiB; 0 for an ended one."""
    with suppress(OSError, IndexError):
        return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
    return 0.0


async def ask(port: int, body: bytes, seconds: float) -> tuple[list[float], dict[int, int], int]:
    """Return seconds of each honest request, its answers, and how often it had to connect again."""
    times: list[float] = []
    answers: Counter[int] = Counter()
    lost, connection = 0, await Connection.open(port)
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        try:
            async with asyncio.timeout(30):
                code, _ = await connection.post("/v1/predict", JSON, body)
            answers[code] += 1
        except (OSError, EOFError, TimeoutError):
            lost += 1
            connection = await Connection.open(port)
            continue
        times.append(time.perf_counter() - start)
        await asyncio.sleep(PAUSE_SECONDS)
    connection.close()
    return times, dict(answers), lost


# The attacks.


def attack(name: str, port: int, seconds: float, answers: "multiprocessing.Queue[dict[str, int]]") -> None:
    """Run the attack in this process; put nothing into `answers` first, then the counts of its answers."""
    prepare = ATTACKS[name]
    run = prepare()
    answers.put({})
    codes: Counter[str] = Counter()
    end = time.perf_counter() + seconds
    threads = [threading.Thread(target=_until, args=(end, run, port, codes)) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.put(dict(codes))


Once = Callable[[int, float], Iterator[str]]


def _until(end: float, run: Once, port: int, codes: "Counter[str]") -> None:
    while time.perf_counter() < end:
        try:
            codes.update(run(port, end))
        except OSError:
            codes["cut off"] += 1
            time.sleep(0.01)


def _sending(path: str, form: str, body: bytes, head: bytes = b"") -> Once:
    """Send the same request over and over, each over a connection of its own."""
    first = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {form}\r\nContent-Length: {len(body)}\r\n".encode()

    def run(port: int, _: float) -> Iterator[str]:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            with suppress(OSError):  # it may have answered before all was sent
                connection.sendall(first + head + b"Connection: close\r\n\r\n" + body)
            yield connection.recv(4096)[9:12].decode() or "closed"

    return run


def _json(value: bytes) -> Callable[[], Once]:
    return lambda: _sending("/v1/predict", JSON, b'{"inputs": {"future": [], "units": [' + value + b"]}}")


def _rows(value: bytes) -> Callable[[], Once]:
    return lambda: _sending("/v1/score", JSON, b'{"as_of": "2026-05-31", "rows": [' + value + b"]}")


def _histories(content: bytes, count: int = 10) -> Callable[[], Once]:
    return lambda: _sending("/v1/recommend", JSON, b'{"k": %d, "histories": [' % count + content + b"]}")


def _table(form: str, make: Callable[[], bytes]) -> Callable[[], Once]:
    return lambda: _sending("/v1/score?as_of=2026-05-31", form, make())


def _csv(*lines: str) -> Callable[[], Once]:
    return _table(CSV, lambda: "\n".join([HEADER, *lines]).encode())


def _bomb(form: str) -> Callable[[], Once]:
    """Send the same long text in many rows: it packs a thousandfold."""

    def make() -> bytes:
        file = BytesIO()
        table = pl.DataFrame({name: ["a" * 10_000] * 40_000 for name in ("series_id", "store_id")})
        if form == PARQUET:
            table.write_parquet(file, compression="zstd")
        else:
            table.write_ipc_stream(file, compression="zstd")
        return file.getvalue()

    return _table(form, make)


def _holding(count: int, first: bytes, then: bytes) -> Callable[[], Once]:
    """Hold `count` connections, opened anew when they are closed, each with a byte a second after the `first`."""

    def prepare() -> Once:
        def run(port: int, end: float) -> Iterator[str]:
            held: list[socket.socket] = []
            try:
                while time.perf_counter() < end:
                    while len(held) < count // AT_ONCE:
                        held.append(socket.create_connection(("127.0.0.1", port), timeout=30))
                        held[-1].sendall(first)
                        held[-1].setblocking(False)
                        yield "opened"
                    for one in list(held):
                        try:
                            if answer := one.recv(4096):
                                yield answer[9:12].decode()
                                continue
                        except BlockingIOError:
                            with suppress(OSError):
                                one.send(then)
                            continue
                        except OSError:
                            pass
                        held.remove(one)
                        one.close()
                        yield "closed"
                    time.sleep(1.0 if then else 0.1)
            finally:
                for one in held:
                    one.close()

        return run

    return prepare


def _heads(size: int) -> Callable[[], Once]:
    return lambda: _sending("/v1/predict", JSON, b"{}", b"X: " + b"a" * size + b"\r\n")


def _nothing() -> Once:
    def run(*_: object) -> Iterator[str]:
        time.sleep(0.1)
        yield from ()

    return run


POST = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LONG = b'"' + b"a" * 60_000 + b'"' + b',""' * 1000
HEADER = "date,series_id,store_id,units,price,promo_display,promo_mailer"
LINE = "2026-05-01,s1,s1,1,1,0,0"
ATTACKS: dict[str, Callable[[], Once]] = {
    "none": _nothing,
    "long string among empty ones, 63 kB": _json(LONG),
    "long string among empty ones, 118 kB": _json(b'"' + b"a" * 110_000 + b'"' + b',""' * 2500),
    "long string among empty ones, 4 MB": _json(b'"' + b"a" * 3_900_000 + b'"' + b',""' * 1000),
    "long string among empty ones, 8 MB": _json(b'"' + b"a" * 7_900_000 + b'"' + b',""' * 30_000),
    "[[],[],…], 15 MB": _json(b"[]" + b",[]" * 5_000_000),
    "[[],[],…], 4 MB": _json(b"[]" + b",[]" * 1_350_000),
    "numbers, 4 MB": _json(b"1.5" + b",1.5" * 1_000_000),
    "deep nesting, 4 MB": _json(b"[" * 2_000_000 + b"]" * 2_000_000),
    "arrays of safetensors, 15 MB": lambda: _sending(
        "/v1/predict", SAFETENSORS, (15_000_000).to_bytes(8, "little") + b"{" + b" " * 14_999_999
    ),
    "rows: a long string, 4 MB": _rows(b'{"series_id": "' + b"a" * 4_000_000 + b'"}'),
    "rows: a long string among many, 4 MB": _rows(
        b'{"series_id": "' + b"a" * 1_000_000 + b'"}' + b',{"a":1}' * 370_000
    ),
    "rows: empty ones, 4 MB": _rows(b"{}" + b",{}" * 450_000),
    "rows: many columns, 4 MB": _rows(b"{" + b",".join(b'"c%d":1' % place for place in range(340_000)) + b"}"),
    "rows: nested lists, 4 MB": _rows(b'{"units": [' + b"[]" + b",[]" * 450_000 + b"]}"),
    "rows: nested objects, 4 MB": _rows(b'{"units":' * 400_000 + b"1" + b"}" * 400_000),
    "tables: many, 4 MB": lambda: _sending(
        "/v1/score", JSON, b'{"tables": {' + b",".join(b'"t%d":[]' % place for place in range(300_000)) + b"}}"
    ),
    "CSV: one line of 15 MB": _csv("a" * 15_000_000),
    "CSV: a quoted field of 15 MB": _csv('"' + "a\n" * 7_500_000),
    "CSV: a header of 15 MB": _table(CSV, lambda: b"a," * 7_500_000),
    "CSV: many rows, 12 MB": _csv(*[LINE] * 490_000),
    "Parquet that unpacks a thousandfold": _bomb(PARQUET),
    "Arrow that unpacks a thousandfold": _bomb(ARROW),
    f"{RECOMMEND}as many items as are allowed": _histories(b"[]" + b',["i1"]' * 99, 1000),
    f"{RECOMMEND}as many histories as are allowed": _histories(b"[]" + b',["i1"]' * 4095),
    f"{RECOMMEND}histories of 10,000 ids, 256 kB": _histories(b'["i1"' + b',"i2"' * 9999 + b"]", 1000),
    f"{RECOMMEND}empty histories, 256 kB": _histories(b"[]" + b",[]" * 85_000),
    f"{RECOMMEND}a long id, 256 kB": _histories(b'["' + b"a" * 260_000 + b'"]'),
    f"{RECOMMEND}numbers of 256 kB": _histories(b"[" + b"9" * 260_000 + b"]"),
    f"{RECOMMEND}deep nesting, 256 kB": _histories(b"[" * 130_000 + b"]" * 130_000),
    f"{RECOMMEND}4 MB": _histories(b'["i1"]' + b',["i1"]' * 570_000),
    "headers of 1 MB": _heads(1_000_000),
    "a header of 200 MB": _heads(200_000_000),
    "64 bodies of 4 MB, held": _holding(64, POST + b"Content-Length: 4000000\r\n\r\n" + b" " * 1_000_000, b" "),
    "400 idle connections": _holding(400, b"", b""),
    "1000 idle connections": _holding(1000, b"", b""),
    "50 one-byte-a-second connections": _holding(50, b"GET /", b"a"),
    "50 one-byte-a-second bodies": _holding(50, POST + b"Content-Length: 4000\r\n\r\n", b" "),
    "pipelined requests": lambda: _sending("/healthz", JSON, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 10_000),
}


if __name__ == "__main__":
    raise SystemExit(main())
