"""What a stage uses of energy: its share of what the processor counted, or else an estimate from its CPU time."""

import os
import resource
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from tasks.core.errors import ConfigError

COUNTERS = Path("/sys/class/powercap")
WATTS_SETTING = "NIGHTSTILL_WATTS_PER_CORE"
WATTS = 10.0
"""A busy core of a server takes about so much, its part of memory and fans left out."""


class Energy(NamedTuple):
    """Energy is what a stage used. `how`: told by the processor, or estimated as CPU seconds times watts per core."""

    cpu_seconds: float
    joules: float
    how: Literal["measured", "estimated"]


class Meter:
    """A meter runs from when it is made. It counts the processes that this one started and that have ended."""

    def __init__(self, counters: Path = COUNTERS) -> None:
        """Begin. Raises ConfigError on a setting that is no number of watts: now rather than after the work."""
        self._counters, self._watts = counters, watts()
        self._begun = self._now()

    def read(self) -> Energy:
        """Return what was used since."""
        (cpu, busy, joules), (cpu_then, busy_then, joules_then) = self._now(), self._begun
        seconds, machine = cpu - cpu_then, busy - busy_then
        if joules and joules_then and joules.keys() == joules_then.keys() and machine > 0:
            used = sum(self._since(name, joules_then[name], now) for name, now in joules.items())
            return Energy(round(seconds, 2), round(used * min(seconds / machine, 1), 1), "measured")
        return Energy(round(seconds, 2), round(seconds * self._watts, 1), "estimated")

    def _now(self) -> tuple[float, float, dict[str, float]]:
        used, machine = resource.getrusage(resource.RUSAGE_CHILDREN), psutil.cpu_times()
        busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
        return used.ru_utime + used.ru_stime, busy, self._joules()

    def _joules(self) -> dict[str, float]:
        """Return the count of each package, empty where the processor tells none, or not to us."""
        try:
            return {
                path.name: int((path / "energy_uj").read_text()) / 1e6
                for path in sorted(self._counters.glob("intel-rapl:*"))
                if path.name.count(":") == 1
            }
        except (OSError, ValueError):
            return {}

    def _since(self, name: str, then: float, now: float) -> float:
        """Return the joules between two readings of a counter, which begins anew at its range."""
        wrapped = int((self._counters / name / "max_energy_range_uj").read_text()) / 1e6 if now < then else 0.0
        return now - then + wrapped


def watts() -> float:
    """Return the watts that a busy core takes. Raises ConfigError."""
    text = os.environ.get(WATTS_SETTING, "")
    try:
        value = float(text or WATTS)
    except ValueError:
        value = 0.0
    if not 0 < value < 1000:
        raise ConfigError(f"{WATTS_SETTING}={text!r:.40}: write the watts of one busy core, such as {WATTS:g}")
    return value
