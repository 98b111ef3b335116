"""The health check of Airflow's containers, against answers as Airflow 3.3 gives them."""

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

FILE = Path(__file__).parents[3] / "docker" / "healthcheck.py"
WELL = {name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")}


def _well() -> Callable[[str, str, str], bool]:
    spec = importlib.util.spec_from_file_location("healthcheck", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str, str, str], bool] = module.well
    return found


well = _well()


class Airflow(HTTPServer):
    """It answers at both health addresses; the scheduler's with `status`."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = dict(WELL)
        self.status = 200
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Airflow)
        known = {"/health": (self.server.status, ""), "/api/v2/monitor/health": (200, json.dumps(self.server.told))}
        status, text = known.get(self.path, (404, ""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    with Airflow() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("component", "part"),
    [("api-server", "metadatabase"), ("dag-processor", "dag_processor"), ("triggerer", "triggerer")],
)
def test_a_component_is_well_while_airflow_says_so(component: str, part: str, airflow: Airflow) -> None:
    assert well(component, airflow.url, "")
    airflow.told[part] = {"status": "unhealthy"}
    assert not well(component, airflow.url, "")
    airflow.told[part] = {"status": None}
    assert not well(component, airflow.url, ""), "it never began"


def test_the_scheduler_answers_for_itself(airflow: Airflow) -> None:
    assert well("scheduler", "", airflow.url)
    airflow.status = 503
    with pytest.raises(HTTPError):
        well("scheduler", "", airflow.url)


def test_who_does_not_answer_is_not_well() -> None:
    for component in ("scheduler", "api-server"):
        with pytest.raises(URLError):
            well(component, "http://127.0.0.1:9", "http://127.0.0.1:9")
