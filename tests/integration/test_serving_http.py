"""The scoring service as a real process: it follows the ledger under load, and refuses what does not hold."""

import asyncio
import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.local.environments import PROJECT
from infra.testing.load import Connection, started
from serving.service.bodies import JSON
from tasks.releases.signing import generate
from tests.serving_releases import expected, inputs, open_releases, promote, promote_tables
from tests.tamper import flip
from tests.unit.conftest import Sales

BODY = json.dumps({"inputs": {name: array.tolist() for name, array in inputs().items()}}).encode()
POLL = "0.1"


class Service:
    """A running one, its releases, and the keys by which they are signed."""

    def __init__(self, port: int, process: "subprocess.Popen[str]", folder: Path, private: str) -> None:
        self.port, self.process, self.folder = port, process, folder
        self.private = private
        self.releases = open_releases(folder, private)

    def get(self, path: str, body: bytes | None = None) -> Any:
        """The answer as JSON, or as text."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, body, {"Content-Type": JSON} if body else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def factor(self) -> float:
        """Of the model that answers."""
        output = np.array(self.get("/v1/predict", BODY)["output"])
        return float((output - 20)[-1, -1, -1] / inputs()["x"][-1, -1, -1])

    def number(self, name: str) -> float:
        """One of /metrics."""
        lines = [line for line in self.get("/metrics").splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].split()[1])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It sees what is done meanwhile all at once."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it: a model answers a moment before the metrics have counted it."""
        for _ in range(300):
            if condition():
                return
            time.sleep(0.1)
        pytest.fail("it did not happen")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """With trusted keys, and one release, whose factor is 2."""
    private, public, _ = generate(tmp_path / "keys")
    folder = tmp_path / "releases"
    promote(open_releases(folder, str(private)), 2)
    told = {"SERVING_POLL_SECONDS": POLL, "TRUSTED_KEYS": str(public)}
    with started(str(folder), "sales", tmp_path / "cache", **told) as (port, process):
        yield Service(port, process, folder, str(private))


def test_promotion_and_rollback_are_followed_while_it_runs(service: Service) -> None:
    assert service.factor() == 2
    promote(service.releases, 3)
    service.until(lambda: service.get("/v1/model")["release"] == 2)
    assert service.factor() == 3
    service.releases.rollback(1, "three is bad")
    service.until(lambda: service.get("/v1/model")["kind"] == "rollback")
    assert service.factor() == 2
    service.until(lambda: service.number("nightstill_reloads_total") == 2)
    service.until(lambda: service.number("nightstill_ledger_entry") == 3)
    assert service.number("nightstill_release") == 1 and service.number("nightstill_reload_failures_total") == 0


def test_a_release_that_does_not_hold_is_refused_and_the_old_one_goes_on(service: Service) -> None:
    unsigned = promote(open_releases(service.folder), 3)
    service.until(lambda: "not signed" in service.get("/readyz")["problem"])
    service.until(lambda: service.number("nightstill_reload_failures_total") > 0)
    assert service.factor() == 2
    with service.paused():  # otherwise it may have read the file before it is another
        tampered = promote(service.releases, 4)
        flip(service.folder / tampered.files / "model.onnx")
    service.until(lambda: "model.onnx is not what was released" in service.get("/readyz")["problem"])
    assert service.factor() == 2 and service.number("nightstill_release") == 1
    promote(service.releases, 5)
    service.until(lambda: service.number("nightstill_release") == 4)
    assert service.factor() == 5 and service.get("/readyz")["problem"] == ""
    assert unsigned.release == 2 and tampered.release == 3


def test_two_hundred_requests_at_once_are_all_answered_through_a_reload(service: Service) -> None:
    """Every answer is by the release that it names, whichever of the two that is."""

    under_way = asyncio.Event()

    async def ask(seen: list[int]) -> None:
        connection = await Connection.open(service.port)
        while seen.count(2) < 400:
            code, body = await connection.post("/v1/predict", JSON, BODY)
            found = json.loads(body)
            assert code == 200
            assert np.array_equal(np.array(found["output"], np.float32), expected(found["release"] + 1))
            seen.append(found["release"])
            if len(seen) == 200:
                under_way.set()
        connection.close()

    async def all_at_once() -> list[int]:
        seen: list[int] = []
        asking = asyncio.gather(*(ask(seen) for _ in range(200)))
        await under_way.wait()
        await asyncio.to_thread(promote, service.releases, 3)
        await asking
        return seen

    seen = asyncio.run(all_at_once())
    assert set(seen) == {1, 2} and len(seen) >= 600
    assert service.number('nightstill_requests_total{code="200",path="/v1/predict"}') == len(seen)


def test_told_to_stop_it_answers_what_is_under_way_and_ends_in_order(service: Service) -> None:
    async def stop_in_the_middle() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: t\r\nContent-Type: {JSON}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        writer.write(head.encode() + BODY[:10])
        await writer.drain()
        await asyncio.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        writer.write(BODY[10:])
        answer = await reader.read()
        writer.close()
        return answer

    answer = asyncio.run(stop_in_the_middle())
    assert answer.startswith(b"HTTP/1.1 200") and b'"release":1' in answer
    assert service.process.wait(timeout=30) == 0


def test_the_example_of_the_page_for_consumers_runs_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sales = Sales()
    table = sales.table().collect()
    promote_tables(open_releases(tmp_path / "releases"), {"kind": "forecasting", **sales.options}, table, sales.as_of)
    table.write_csv(tmp_path / "rows.csv")
    monkeypatch.chdir(tmp_path)
    page = (PROJECT / "docs" / "consumers.md").read_text()
    _, example = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    found: dict[str, Any] = {}
    with started(str(tmp_path / "releases"), "sales", tmp_path / "cache", SERVING_PORT="8081"):
        exec(example, found)
    assert len(found["forecast"]["rows"]) == 6 * sales.options["horizon"]
    assert capsys.readouterr().out.startswith("1 {'date': '2024-07-15', 'series_id': 's1-d1', ")
