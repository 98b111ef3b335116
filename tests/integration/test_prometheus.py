"""The alert rules and the numbers of nights, by a real Prometheus."""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.nights.numbers import exposition, numbers, write
from tests.conftest import PROJECT
from tests.ports import free_port
from tests.unit.nights.test_nights import Past

RULES = PROJECT / "infra" / "observability"
PATIENCE_SECONDS = 120


@pytest.fixture(autouse=True)
def _prometheus() -> None:
    """Skip without it; fail where NIGHTSTILL_REQUIRE_PROMETHEUS says that it must be there."""
    if not shutil.which("promtool"):
        if os.environ.get("NIGHTSTILL_REQUIRE_PROMETHEUS"):
            pytest.fail("NIGHTSTILL_REQUIRE_PROMETHEUS is set, but there is no promtool")
        pytest.skip("no promtool: install Debian's package prometheus")


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=RULES, input=given, capture_output=True, text=True, check=False)


def test_every_rule_fires_when_it_should_and_not_else() -> None:
    done = promtool("test", "rules", "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_never_fires_is_noticed(tmp_path: Path) -> None:
    text = (RULES / "alerts.yaml").read_text()
    (tmp_path / "alerts.yaml").write_text(text.replace('outcome="stopped"', 'outcome="stoped"'))
    shutil.copy(RULES / "alerts_test.yaml", tmp_path)
    done = promtool("test", "rules", str(tmp_path / "alerts_test.yaml"))
    assert done.returncode != 0 and "NightFailed" in done.stdout + done.stderr


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """A night that stopped, with a champion."""
    found = Past(tmp_path / "past")
    found.entry()
    found.night(0)
    found.watched(0)
    found.night(1, stopped_at="promote")
    return found


def test_rules_and_board_ask_for_numbers_that_there_are(past: Past) -> None:
    text = exposition(numbers(past.collected(), scheduled=True))
    done = promtool("check", "metrics", given=text)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = {
        word
        for file in ("alerts.yaml", "board.json")
        for word in (RULES / file).read_text().replace("{", " ").replace("[", " ").replace('"', " ").split()
        if word.startswith("nightstill_")
    }
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert asked - {"nightstill_reload_failures_total", "nightstill_release_age_seconds"} <= told


@pytest.fixture
def address(past: Past, tmp_path: Path) -> Iterator[str]:
    """A Prometheus that reads the numbers from a file server each second, and evaluates the rules."""
    (tmp_path / "served").mkdir()
    write(tmp_path / "served" / "metrics", numbers(past.collected(), scheduled=True))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        listen = f"127.0.0.1:{free_port()}"
        target = {"targets": [f"127.0.0.1:{server.server_port}"]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES / "alerts.yaml")],
            "scrape_configs": [{"job_name": "nights", "static_configs": [target]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        with (tmp_path / "log").open("w") as log:
            running = subprocess.Popen([*command, f"--web.listen-address={listen}"], stdout=log, stderr=log)
        yield f"http://{listen}/api/v1"
        running.terminate()
        running.wait()
        server.shutdown()


def ask(url: str) -> list[Any]:
    """The result of a query; nothing while Prometheus starts."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            data = json.load(answer)["data"]
    except OSError:
        return []
    found: list[Any] = data.get("result", data.get("alerts", []))
    return found


def wait_for(url: str) -> list[Any]:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := ask(url)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def test_a_prometheus_scrapes_the_night_that_stopped_and_raises_the_alarm(address: str) -> None:
    query = urllib.parse.quote('nightstill_night_outcome{outcome="stopped"} == 1')
    (point,) = wait_for(f"{address}/query?query={query}")
    assert point["metric"]["workload"] == "sales"
    fired = {alert["labels"]["alertname"] for alert in wait_for(f"{address}/alerts")}
    assert "NightFailed" in fired
