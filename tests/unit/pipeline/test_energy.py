"""What a stage uses of energy, by the processor's counters or from CPU time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.pipeline.handover.energy import WATTS_SETTING, Meter

RANGE = 1_000_000_000


def work() -> None:
    """Let a process take some CPU time."""
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)


def count(folder: Path, name: str, microjoules: int) -> None:
    """Set a counter as the kernel shows it."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{RANGE}\n")


def test_without_counters_it_is_estimated_from_cpu_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WATTS_SETTING, "20")
    meter = Meter(tmp_path)
    work()
    found = meter.read()
    assert found.how == "estimated" and found.cpu_seconds > 0
    assert found.joules == pytest.approx(20 * found.cpu_seconds, abs=0.2)


@pytest.mark.parametrize(("then", "now"), [(1_000_000, 501_000_000), (RANGE - 100_000_000, 400_000_000)])
def test_a_stage_has_its_share_of_what_the_packages_counted(then: int, now: int, tmp_path: Path) -> None:
    count(tmp_path, "intel-rapl:0", then)
    count(tmp_path, "intel-rapl:0:0", 5)  # a part of the package, counted there
    meter = Meter(tmp_path)
    work()
    count(tmp_path, "intel-rapl:0", now)
    count(tmp_path, "intel-rapl:0:0", 900_000_000)
    found = meter.read()
    assert found.how == "measured" and 0 < found.joules <= 500


def test_a_counter_that_comes_or_goes_is_no_measurement(tmp_path: Path) -> None:
    meter = Meter(tmp_path)
    count(tmp_path, "intel-rapl:0", 7)
    assert meter.read().how == "estimated"


@pytest.mark.parametrize("value", ["many", "-3", "0", "nan"])
def test_watts_that_are_none_are_refused_before_the_work(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WATTS_SETTING, value)
    with pytest.raises(ConfigError, match=r"NIGHTSTILL_WATTS_PER_CORE=.* such as 10"):
        Meter()
