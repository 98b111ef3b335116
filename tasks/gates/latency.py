"""This gate limits the time of one call, as a ratio to a reference model that is measured in between."""

from dataclasses import replace

from tasks.compression.timing import UNKNOWN, Latency, straddles
from tasks.gates.options import LatencyGate
from tasks.gates.result import GateResult, at_most


def latency_gates(candidate: str, measured: Latency | None, gate: LatencyGate, why: str = "") -> list[GateResult]:
    """The upper end of the interval of the ratio must be within the limit, at p50 and at p95.

    `measured` None: it could not be measured, `why` says the reason, and both refuse. A ratio whose interval still
    holds the limit after the last round is refused too. The observed ratios are withheld: a clock's numbers differ from
    run to run.
    """
    at = f"at batch {gate.batch} with {gate.threads} thread{'s' if gate.threads > 1 else ''}"
    results = []
    for name, interval, limit in (
        ("p50", measured.interval_p50 if measured else UNKNOWN, gate.max_p50_ratio),
        ("p95", measured.interval_p95 if measured else UNKNOWN, gate.max_p95_ratio),
    ):
        rule = f"{name} surely at most {limit:g} times the reference model's {at}"
        note = why
        if measured and straddles(interval, limit):
            note = "the ratio's interval still holds the limit: measure on a calmer machine, or with more rounds"
        result = at_most(f"latency/{name}", candidate, interval[1] if measured else None, limit, rule, note)
        results.append(replace(result, observed=None))
    return results
