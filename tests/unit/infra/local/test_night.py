"""How the follower of a run talks to an API server that stumbles: a real HTTP server with planned answers."""

import json
import threading
import time
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.local import night


class Server(ThreadingHTTPServer):
    """Answers each request with the next planned status; a status of 0 is an answer that comes too late."""

    plan: list[int]
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    """One planned answer."""

    server: Server

    def answer(self) -> None:
        if self.path == "/auth/token":
            status = 200
        else:
            self.server.asked.append(self.command)
            status = self.server.plan.pop(0)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if status == 0:
            time.sleep(2)
            return
        body = json.dumps({"access_token": "secret"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 their names are the standard library's

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(night, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(night, "PAUSE_SECONDS", 0.01)
    server = Server(("127.0.0.1", 0), Handler)
    server.plan, server.asked = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def airflow(server: Server) -> night.Airflow:
    return night.Airflow(f"http://127.0.0.1:{server.server_port}")


@pytest.mark.parametrize("plan", [[200], [500, 200], [0, 200], [0, 409], [503, 0, 409]])
def test_a_run_is_created_though_the_server_stumbles_or_is_late(
    server: Server, airflow: night.Airflow, plan: list[int]
) -> None:
    server.plan = list(plan)

    night.trigger(airflow, "nightly_sales", "one", {})

    assert server.asked == ["POST"] * len(plan)


def test_a_refusal_is_told_at_once(server: Server, airflow: night.Airflow) -> None:
    server.plan = [403]

    with pytest.raises(urllib.error.HTTPError, match="403"):
        night.trigger(airflow, "nightly_sales", "one", {})


def test_a_server_that_never_answers_ends_the_wait(server: Server, airflow: night.Airflow) -> None:
    server.plan = [0] * 10

    with pytest.raises(TimeoutError):
        night.trigger(airflow, "nightly_sales", "one", {})

    assert len(server.asked) == 6
