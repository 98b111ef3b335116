"""This gate refuses a candidate whose bands hold too little or too much of the truth, or whose chances are not kept."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from tasks.core.errors import ConfigError
from tasks.gates.options import CalibrationGate
from tasks.gates.result import GateResult, at_most
from tasks.problems.base import Score


def calibration(candidate: str, score: Score, gate: CalibrationGate) -> list[GateResult]:
    """Every metric that the gate names must be within its limits; one that was not measured refuses."""
    results = []
    if gate.coverage:
        results.append(_coverage(candidate, score.metrics, *gate.coverage))
    for metric, limit in (("pinball", gate.pinball), ("calibration_error", gate.calibration_error)):
        if limit is not None:
            rule = f"{metric} at most {limit:g}"
            results.append(at_most(f"calibration/{metric}", candidate, score.metrics.get(metric), limit, rule))
    return results


def _coverage(candidate: str, metrics: Mapping[str, float], least: float, most: float) -> GateResult:
    name, found = "calibration/coverage", metrics.get("coverage")
    rule = f"share of the truth within the band at least {least:g} and at most {most:g}"
    result = at_most(name, candidate, found, most, rule)
    if found is not None and found < least:
        return replace(result, passed=False, limit=least)
    return result


def check_calibration(gate: CalibrationGate | None, measured: Collection[str]) -> None:
    """Raise ConfigError when the gate limits a metric that the workload's outputs do not have."""
    for metric in gate.metrics if gate else ():
        if metric not in measured:
            has = ", ".join(measured) or "none of them"
            raise ConfigError(f"gates.calibration.{metric}: outputs of this problem have {has}; leave it out")
