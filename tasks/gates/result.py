"""A result is one rule on one measured number of one candidate. A number that is not finite never passes."""

import math
from dataclasses import dataclass
from typing import Any

SIGNIFICANT_DIGITS = 6


@dataclass(frozen=True)
class GateResult:
    """A GateResult is a rule and its outcome. `rule`: in words; `note`: what a person needs to understand the outcome.

    `observed` is None where nothing could be measured, and where the measurement is a clock's: such numbers differ
    from run to run and are recorded elsewhere.
    """

    gate: str
    candidate: str
    passed: bool
    observed: float | None
    limit: float | None
    rule: str
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, rounded so that they read well."""
        return {
            "gate": self.gate,
            "candidate": self.candidate,
            "passed": self.passed,
            "observed": rounded(self.observed),
            "limit": rounded(self.limit),
            "rule": self.rule,
            "note": self.note,
        }


def at_most(gate: str, candidate: str, observed: float | None, limit: float, rule: str, note: str = "") -> GateResult:
    """The gate passes if `observed <= limit` and both are finite numbers: anything else is refused, with the reason."""
    for name, value in (("measured value", observed), ("limit", limit)):
        if value is None or not math.isfinite(value):
            why = f"the {name} is {'missing' if value is None else value}"
            return refused(gate, candidate, rule, f"{note}; {why}" if note else why, rounded(limit))
    assert observed is not None
    return GateResult(gate, candidate, observed <= limit, observed, limit, rule, note)


def refused(gate: str, candidate: str, rule: str, why: str, limit: float | None = None) -> GateResult:
    """Return the refusal of a gate that cannot be measured."""
    return GateResult(gate, candidate, False, None, limit, rule, why)


def rounded(value: float | None) -> float | None:
    """Return `value` to six significant digits; None if it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
