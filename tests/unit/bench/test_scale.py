"""Seconds and memory of a program, whatever the process that asks has in memory itself."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.scale import _timed


def test_the_peak_is_the_programs_own_and_not_its_parents(tmp_path: Path) -> None:
    large = np.ones(100_000_000)  # 800 MB
    seconds, peak = _timed(["--help"], {"NIGHTSTILL_HOME": str(tmp_path)})
    assert large.nbytes / 1e6 > peak > 10 and seconds > 0


def test_a_program_that_fails_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError, match="non-zero exit status"):
        _timed(["run", "no-such-workload"], {"NIGHTSTILL_HOME": str(tmp_path)})
