"""The environment of Airflow's processes on one machine."""

import http.server
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import services
from tasks.core.errors import ConfigError
from tests.ports import free_port

METRICS = "AIRFLOW__METRICS__OTEL_ON"


@pytest.mark.parametrize(("address", "sent"), [("", "False"), ("http://collector:4318", "True")])
def test_airflow_sends_metrics_where_there_is_a_collector(
    address: str, sent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "AIRFLOW_HOME", tmp_path)
    monkeypatch.delenv(METRICS, raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TIMEOUT", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    found = services.airflow_environment(8080)
    assert found[METRICS] == sent
    assert found["OTEL_EXPORTER_OTLP_TIMEOUT"] == "1", "a collector that is down costs each task a second"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Records and logs of services that a test starts; they are ended afterwards."""
    monkeypatch.setattr(services, "RUN", tmp_path / "run")
    monkeypatch.setattr(services, "LOGS", tmp_path / "logs")
    monkeypatch.delenv("NIGHTSTILL_MLFLOW_PORT", raising=False)
    yield tmp_path
    services.stop(["mlflow"])


@pytest.fixture
def foreign() -> Iterator[int]:
    """The port of a server that is not ours: it answers whatever it is asked, with 404."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def serve(folder: Path, port: int, *command: str) -> str:
    """Start a service of ours at a port, without asking whether it is free, as two that start at one moment do."""
    folder.joinpath("served").mkdir()
    address = f"http://127.0.0.1:{port}"
    services._start("mlflow", [*command, "-d", str(folder / "served"), str(port)], {}, address)
    return address


SERVER = (sys.executable, "-m", "http.server", "-b", "127.0.0.1")


def test_our_own_server_is_waited_for_also_below_a_process_of_its_own(place: Path) -> None:
    address = serve(place, free_port(), "/bin/sh", "-c", '"$0" "$@" & wait', *SERVER)
    services.wait_for(address, "mlflow", seconds=30)
    assert services.running("mlflow")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a port is")
def test_anothers_server_is_not_taken_for_ours(place: Path, foreign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # It waits for its port as an application does that is still being loaded.
    waiting = ("/bin/sh", "-c", 'sleep 60; exec "$0" "$@"', *SERVER)
    address = serve(place, foreign, *waiting)
    with pytest.raises(ConfigError, match=rf"mlflow: another's server listens at port {foreign}; start again, which"):
        services.wait_for(address, "mlflow", seconds=30)
    monkeypatch.setenv("NIGHTSTILL_MLFLOW_PORT", str(foreign))
    with pytest.raises(ConfigError, match="set NIGHTSTILL_MLFLOW_PORT to a free one"):
        services.wait_for(address, "mlflow", seconds=30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a port is")
def test_one_that_ended_because_its_port_is_anothers_says_so(place: Path, foreign: int) -> None:
    address = serve(place, foreign, *SERVER)
    while services.running("mlflow"):
        time.sleep(0.05)
    with pytest.raises(ConfigError, match=rf"mlflow: another's server listens at port {foreign}"):
        services.wait_for(address, "mlflow", seconds=30)


def test_one_that_ended_for_a_reason_of_its_own_tells_its_last_lines(place: Path) -> None:
    address = serve(place, free_port(), "/bin/sh", "-c", "echo no database; exit 1")
    with pytest.raises(RuntimeError, match=r"mlflow does not answer(.|\n)*no database"):
        services.wait_for(address, "mlflow", seconds=30)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a port is")
def test_up_beside_another_ends_what_it_started(
    place: Path, foreign: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(_names: object) -> list[str]:
        serve(place, foreign, "/bin/sh", "-c", "sleep 60", *SERVER)
        (place / "run" / "api-server.json").write_text((place / "run" / "mlflow.json").read_text())
        return ["api-server", "mlflow"]

    monkeypatch.setattr(services, "start", start)
    assert services.main(["up"]) == ConfigError.exit_code
    assert "another's server listens at port" in capsys.readouterr().err
    assert services.running("mlflow") is None and services.running("api-server") is None
