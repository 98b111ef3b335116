"""The service under clients that send too much or too slowly: they are ended, and others are answered meanwhile."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from infra.testing.load import Connection, started
from serving.service.bodies import JSON
from tests.serving_releases import inputs, open_releases, promote

BODY = json.dumps({"inputs": {name: array.tolist() for name, array in inputs().items()}}).encode()
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
LIMITS = {"SERVING_IDLE_SECONDS": "1", "SERVING_BODY_SECONDS": "2", "SERVING_MAX_CONNECTIONS": "20"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("limits")
    promote(open_releases(folder / "releases"), 2)
    with started(str(folder / "releases"), "sales", folder / "cache", **LIMITS) as (found, _):
        yield found


def ended(port: int, *parts: bytes, pause: float = 0.0, within: float = 8.0) -> tuple[bytes, float]:
    """What is answered until the service closes the connection, and after how many seconds it does."""

    async def send() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        begin = time.perf_counter()

        async def write() -> None:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)

        writing = asyncio.create_task(write())
        try:
            async with asyncio.timeout(within):
                answer = b""
                while part := await reader.read(65536):
                    answer += part
        except ConnectionError:
            pass
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            writer.close()
        return answer, time.perf_counter() - begin

    return asyncio.run(send())


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n"],
        [HEAD, *[b"X: " + b"a" * 65536] * 20],
        [HEAD + b"".join(b"X%d: a\r\n" % place for place in range(200)) + b"\r\n"],
        [b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n"],
    ],
    ids=["one header", "one header in parts", "many headers", "address"],
)
def test_long_heads_are_refused(port: int, parts: list[bytes]) -> None:
    answer, seconds = ended(port, *parts)
    assert answer[:12] in (b"HTTP/1.1 431", b"") and seconds < 5


def test_long_trailers_and_pipelines_end_the_connection(port: int) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: "
    assert ended(port, chunked, *[b"a" * 65536] * 20, pause=0.01)[1] < 2
    assert b"400 Bad Request" in ended(port, b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n" * 1000)[0]


@pytest.mark.parametrize(
    ("parts", "said"),
    [([], b""), ([b"GET"], b"HTTP/1.1 408"), ([b"\r\n"] * 100, b""), ([bytes([one]) for one in HEAD], b"HTTP/1.1 408")],
    ids=["silent", "half a line", "empty lines", "a byte now and then"],
)
def test_who_sends_no_request_is_ended(port: int, parts: list[bytes], said: bytes) -> None:
    answer, seconds = ended(port, *parts, pause=0.1)
    assert answer.startswith(said) and seconds < 5


def test_a_body_that_does_not_arrive_is_answered_with_408(port: int) -> None:
    head = HEAD + b"Content-Length: 1000\r\n\r\n"
    for parts in ([head], [head, *[b" "] * 100]):
        answer, seconds = ended(port, *parts, pause=0.1)
        assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive within 2 s" in answer and seconds < 6


def test_more_connections_than_allowed_do_not_keep_others_out(port: int) -> None:
    async def ask() -> list[int]:
        connection = await Connection.open(port)
        codes = []
        idle = []
        for _ in range(60):
            idle.append(await asyncio.open_connection("127.0.0.1", port))
            codes.append((await connection.post("/v1/predict", JSON, BODY))[0])
        fresh = await Connection.open(port)
        codes.append((await fresh.post("/v1/predict", JSON, BODY))[0])
        async with asyncio.timeout(5):
            await asyncio.gather(*(reader.read() for reader, _ in idle), return_exceptions=True)
        for _, writer in idle:
            writer.close()
        return codes

    assert set(asyncio.run(ask())) == {200}


def test_a_refused_body_does_not_go_on_for_ever(port: int) -> None:
    head = HEAD + b"Content-Length: 100000000000\r\n\r\n"
    answer, seconds = ended(port, head, *[b" " * 1000] * 1000, pause=0.01)
    assert answer.startswith(b"HTTP/1.1 413") and seconds < 6
