"""What a manifest says of the machine: plain values that stay equal from call to call."""

import json
from importlib.metadata import version

import pytest

from tasks.pipeline.handover.machine import describe_machine


def test_a_machine_is_described_by_what_can_change_numbers() -> None:
    found = describe_machine()
    assert json.loads(json.dumps(found)) == describe_machine()
    assert found["libraries"]["numpy"] == version("numpy")
    assert found["processor"] and found["cores"] >= 1 and found["python"].startswith("3.")


def test_the_environment_s_threads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    threads = describe_machine()["threads"]
    assert threads["OMP_NUM_THREADS"] == "3" and "MKL_NUM_THREADS" not in threads
