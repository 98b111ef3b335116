"""Airflow's connection `test_cluster`, by which operators reach a server of the tests."""

import json
from pathlib import Path

import pytest


def connect(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the connection lead to an API server at `url`."""
    config = tmp_path / "kubeconfig"
    place = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "d", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "d",
    }
    config.write_text(json.dumps(place))
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(config)}}
    monkeypatch.setenv("AIRFLOW_CONN_TEST_CLUSTER", json.dumps(connection))
