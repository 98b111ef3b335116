"""Gates of other packages are judged beside the mandatory ones; none of them can stand in for one."""

import math
from collections.abc import Sequence

from tasks.core.config import Spec, pick
from tasks.core.errors import ConfigError
from tasks.core.loader import Kinds
from tasks.gates.gate import Case, Gate
from tasks.gates.mandatory import MANDATORY
from tasks.gates.result import GateResult, refused
from tasks.gates.robustness import one_line

FIRST = "runs"


def parse_gates(specs: Sequence[Spec]) -> tuple[Gate, ...]:
    """Return the gates that `gates.further` names.

    Raises ConfigError on an unknown kind or option, on the name of a mandatory gate, and on one name for two.
    """
    kinds = Kinds("gates", {}, Gate)
    for place, spec in enumerate(specs):
        field = f"gates.further.{place}.kind"
        if spec.kind in (FIRST, *MANDATORY):
            raise ConfigError(f"{field}: {spec.kind} is a mandatory gate; no other can take its name")
        if spec.kind in [other.kind for other in specs[:place]]:
            raise ConfigError(f"{field}: {spec.kind} stands there twice")
    return tuple(pick(spec, kinds, f"gates.further.{place}") for place, spec in enumerate(specs))


def further(gate: Gate, case: Case) -> list[GateResult]:
    """Return a gate's results for a candidate; a candidate that it cannot judge is refused."""
    try:
        results = list(gate.judge(case))
        _check(gate, case, results)
    except Exception as error:  # noqa: BLE001 whatever another package raises is a reason to refuse, not to stop the run
        return [refused(gate.kind, case.candidate.name, "can be judged", one_line(error))]
    return results


def _check(gate: Gate, case: Case, results: Sequence[GateResult]) -> None:
    if not results:
        raise ValueError("the gate gave no result")
    names = [result.gate for result in results]
    for result in results:
        if result.gate != gate.kind and not result.gate.startswith(f"{gate.kind}/"):
            raise ValueError(f"the gate gave a result in the name of {result.gate}")
        if names.count(result.gate) > 1:
            raise ValueError(f"the gate gave two results {result.gate}")
        if result.candidate != case.candidate.name:
            raise ValueError(f"the gate gave a result for {result.candidate}")
        if result.passed and result.observed is not None and not math.isfinite(result.observed):
            raise ValueError(f"the gate passed {result.observed}")
