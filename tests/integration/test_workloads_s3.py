"""params.yaml and workloads/ from an S3 prefix, where a workload is added without an image."""

from pathlib import Path

import pytest

from tasks.config.workload import load_workloads
from tasks.core.errors import ConfigError
from tasks.core.params import find_sections, shown
from tasks.core.settings import Settings
from tasks.core.storage import open_store

PROJECT = Path(__file__).parents[2]


def test_workloads_come_from_an_s3_prefix(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"s3://{bucket}/nights"
    monkeypatch.setenv("NIGHTSTILL_WORKLOADS_FROM", place)
    settings, store = Settings(), open_store(place)
    with pytest.raises(ConfigError, match=rf"^{place}: no params\.yaml; put it there or change NIGHTSTILL_WORKLOADS_"):
        load_workloads(settings.params)
    store.write("params.yaml", (PROJECT / "params.yaml").read_bytes())
    store.write("workloads/power.yaml", (PROJECT / "workloads" / "power.yaml").read_bytes())
    store.write("workloads/readme.txt", b"not read")
    assert list(load_workloads(settings.params)) == ["sales", "customers", "power"]
    assert find_sections(settings.params)["power"].file == f"{place}/workloads/power.yaml"
    assert list(shown(settings.params, "")) == ["sales", "customers"]
    store.write("workloads/sales.yaml", (PROJECT / "params.yaml").read_bytes())
    with pytest.raises(ConfigError, match=rf"^{place}/workloads/sales\.yaml: workloads: expected one section"):
        load_workloads(settings.params)
