"""The environment of Airflow's processes on one machine."""

from pathlib import Path

import pytest

from infra.local import services

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
