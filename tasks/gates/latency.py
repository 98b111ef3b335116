"""Latency gate: time of one call, as a ratio to a reference model that is measured in between."""

from dataclasses import replace

from tasks.compression.timing import Latency
from tasks.config import LatencyGate
from tasks.gates.result import GateResult, at_most


def latency_gates(candidate: str, measured: Latency | None, gate: LatencyGate, why: str = "") -> list[GateResult]:
    """p50 and p95. `measured` None: it could not be measured, `why` says the reason, and both refuse.

    The observed ratios are withheld: a clock's numbers differ from run to run.
    """
    at = f"at batch {gate.batch} with {gate.threads} thread{'s' if gate.threads > 1 else ''}"
    results = []
    for name, ratio, limit in (
        ("p50", measured.ratio_p50 if measured else None, gate.max_p50_ratio),
        ("p95", measured.ratio_p95 if measured else None, gate.max_p95_ratio),
    ):
        rule = f"{name} at most {limit:g} times the reference model's {at}"
        results.append(replace(at_most(f"latency/{name}", candidate, ratio, limit, rule, why), observed=None))
    return results
