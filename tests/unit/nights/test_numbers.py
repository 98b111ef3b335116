"""The numbers of the last night, as Prometheus and a collector of OpenTelemetry read them."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tasks.nights import page
from tasks.nights.numbers import ENDPOINT, HEADERS, Number, exposition, numbers, otlp, send, write
from tasks.nights.standing import Standing
from tests.unit.nights.test_nights import Past

AMBER = Standing("amber", "why")

GATES = [
    {"gate": "size", "observed": 40_000, "limit": 65_536, "passed": True},
    {"gate": "segments", "observed": 0.3, "limit": 0.2, "passed": False},
    {"gate": "segments", "observed": 0.1, "limit": 0.2, "passed": True},
    {"gate": "parity", "observed": None, "limit": 0.1, "passed": False},
]


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Three nights; the last two were rejected."""
    found = Past(tmp_path)
    found.entry()
    found.night(0)
    found.watched(0, "regression")
    found.night(1, "rejected")
    found.night(2, "rejected", gates=GATES)
    return found


def points(past: Past) -> list[Number]:
    return numbers(past.collected(), scheduled=True)


def values(past: Past, name: str) -> dict[tuple[str, ...], float]:
    """Values of a gauge by its labels but the workload."""
    found = [point for point in points(past) if point.name == f"nightstill_{name}"]
    assert all(point.labels["workload"] == "sales" for point in found)
    return {tuple(value for key, value in one.labels.items() if key != "workload"): one.value for one in found}


def test_the_last_night_is_told(past: Past) -> None:
    outcomes = values(past, "night_outcome")
    assert outcomes["rejected",] == 1 and sum(outcomes.values()) == 1 and outcomes["stopped",] == 0
    assert values(past, "night_rejected_in_a_row") == {(): 2}
    assert values(past, "night_error")["candidate", "wape"] == pytest.approx(0.32)
    assert values(past, "night_gate_margin") == {("size",): 25_536, ("segments",): pytest.approx(-0.1)}
    assert values(past, "night_stage_seconds")["teach",] == 20
    opened = datetime(2026, 1, 4, 1, tzinfo=UTC).timestamp()
    assert values(past, "night_timestamp_seconds") == {("true",): opened}
    assert values(past, "champion_release") == {(): 1}
    live = values(past, "live_outcome")
    assert live["regression",] == 1 and live["fine",] == 0, "of the last day that was watched"
    assert values(past, "live_error") == {("wape",): 0.35}


def test_a_night_is_late_by_the_rhythm_of_the_last_ones(past: Past) -> None:
    assert values(past, "night_late_after_seconds") == {("true",): 1.5 * 86_400}
    past.night(9)
    assert values(past, "night_late_after_seconds") == {("true",): 7.5 * 86_400}


def test_late_data_are_told(past: Past) -> None:
    assert values(past, "late_data") == {(): 0}
    past.put("notify/sales/open/a.json", {"event": "late data", "text": "why"})
    assert values(past, "late_data") == {(): 1}


def test_what_a_night_did_not_come_to_is_left_out(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.night(0, stopped_at="validate")
    names = {point.name for point in points(past)}
    assert "nightstill_night_error" not in names and "nightstill_champion_release" not in names
    assert values(past, "night_outcome")["stopped",] == 1


def test_energy_is_told_by_stage_and_said_to_be_estimated(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.night(0)
    assert values(past, "night_stage_energy_joules") == {}, "a night of before it was counted"
    for member, how in (("a", "measured"), ("b", "estimated")):
        past.stage("runs/sales/2026-01-01-r0", f"teach@{member}", joules=3600.0, energy=how)
    assert values(past, "night_stage_energy_joules") == {("teach", "estimated"): 7200}
    assert "energy in Wh, estimated from CPU time" in page.render(past.collected(), AMBER)


def test_a_pin_leaves_the_champion_its_age(past: Past) -> None:
    before = values(past, "champion_timestamp_seconds")
    past.entry("pin")
    assert values(past, "champion_timestamp_seconds") == before
    assert values(past, "champion_pinned") == {(): 1}


def test_text_keeps_the_points_of_a_gauge_together_and_escapes(past: Past, tmp_path: Path) -> None:
    odd = Number("nightstill_live_error", {"workload": 'a"b\\c\nd'}, 1.5)
    text = exposition([*points(past), odd])
    assert text.count("# TYPE nightstill_live_error gauge") == 1
    assert 'nightstill_live_error{workload="a\\"b\\\\c\\nd"} 1.5\n' in text
    write(tmp_path / "nightstill.prom", points(past))
    assert (tmp_path / "nightstill.prom").read_text() == exposition(points(past))
    assert not list(tmp_path.glob(".*.part"))


def test_the_request_is_otlp(past: Past) -> None:
    request = ParseDict(otlp(points(past), datetime(2026, 1, 4, tzinfo=UTC)), ExportMetricsServiceRequest())
    (scope,) = request.resource_metrics[0].scope_metrics
    by_name = {metric.name: metric.gauge.data_points for metric in scope.metrics}
    (point,) = by_name["nightstill_live_error"]
    assert point.as_double == 0.35 and point.time_unix_nano == 1_767_484_800_000_000_000
    assert {one.key: one.value.string_value for one in point.attributes} == {"workload": "sales", "metric": "wape"}


@contextmanager
def collector(status: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes what is sent to it, and answers with a status."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append({"path": self.path, "headers": dict(self.headers), **body})
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_collector_gets_them(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert send(points(past)) == "", "without the setting nothing is sent"
    with collector(200) as (url, taken):
        monkeypatch.setenv(ENDPOINT, url)
        monkeypatch.setenv(HEADERS, "Authorization=Bearer%20a-token, X-Team=sales")
        assert send(points(past)) == ""
    assert taken[0]["headers"]["Authorization"] == "Bearer a-token" and taken[0]["headers"]["X-Team"] == "sales"
    assert [one["path"] for one in taken] == ["/v1/metrics"]


def test_a_collector_that_is_down_costs_nothing(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector(503) as (url, _):
        monkeypatch.setenv(ENDPOINT, url)
        assert send(points(past)) == f"the numbers were not sent to {ENDPOINT}: HTTPError"
    assert "URLError" in send(points(past)), "nobody listens"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "TimeoutError" in send(points(past), timeout=0.2), "it never answers"
    monkeypatch.setenv(ENDPOINT, "no address")
    assert "ValueError" in send(points(past))
