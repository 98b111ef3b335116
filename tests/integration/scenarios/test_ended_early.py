"""A run that is ended early leaves neither processes nor folders, and says how it goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Project


def below(home: Path) -> list[str]:
    """Command lines of processes that were told of this installation."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"NIGHTSTILL_HOME={home}\0".encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # ended, or another user's
            continue
    return found


@pytest.fixture
def listening() -> Iterator[None]:
    """Commands that are started here hear Ctrl-C, also where these tests were started in the background and do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_stages_too(project: Project, tmp_path: Path, number: signal.Signals) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "tasks", "run", "sales", "--as-of", "2026-06-30", "--run-id", "r1"]
    environment = {
        **os.environ,
        "NIGHTSTILL_HOME": str(project.home),
        "NIGHTSTILL_PROJECT": str(project.root),
        "PYTHONPATH": str(project.root),
        "TMPDIR": str(temporary),
    }
    run = subprocess.Popen(command, cwd=project.root, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list(temporary.glob("nightstill-*")) and time.monotonic() < end:
        time.sleep(0.05)
    assert any("run-stage" in line for line in below(project.home))
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode in (128 + number, 130)
    assert "to go on: nightstill run sales --run-id r1" in said
    assert below(project.home) == []
    assert list(temporary.glob("nightstill-*")) == []
