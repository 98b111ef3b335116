"""Measurements in processes of their own: what exists is skipped, what fails is counted, what is slow is stopped."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.processes import Job, run_each

MODULE = """
import pathlib, sys
file, how = sys.argv[1:]
while how == "slow":
    pass
if how == "well":
    pathlib.Path(file).write_text("{}")
raise SystemExit(how != "well")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_measurement.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "some_measurement"


def job(folder: Path, how: str) -> Job:
    file = folder / f"m5-{how}-0.json"
    return Job({"set": "m5", "peer": how, "seed": 0}, file, [str(file), how])


def test_each_job_runs_once_and_failures_are_counted(module: str, tmp_path: Path) -> None:
    said = Console(file=io.StringIO(), width=200)
    jobs = [job(tmp_path, "well"), job(tmp_path, "badly")]
    assert run_each(module, jobs, said, limit_minutes=1) == 1
    (tmp_path / "m5-well-0.json").write_text('{"kept": true}')
    assert run_each(module, jobs[:1], said, limit_minutes=1) == 0
    assert json.loads((tmp_path / "m5-well-0.json").read_text()) == {"kept": True}
    assert "m5 well 0: exists, skipped" in said.file.getvalue()  # type: ignore[attr-defined]


def test_a_slow_job_is_stopped_and_leaves_a_record_that_says_so(module: str, tmp_path: Path) -> None:
    assert run_each(module, [job(tmp_path, "slow")], Console(file=io.StringIO()), limit_minutes=0.02) == 0
    record = json.loads((tmp_path / "m5-slow-0.json").read_text())
    assert record == {"set": "m5", "peer": "slow", "seed": 0, "stopped_after_minutes": 0.02}
