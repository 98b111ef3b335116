"""These gates refuse a candidate that loses of a metric what errors do not show, such as how varied its answers are."""

import math
from collections.abc import Collection, Sequence

from tasks.core.errors import ConfigError
from tasks.gates.champion import Champion
from tasks.gates.options import DiversityGate, FloorGate
from tasks.gates.result import GateResult, refused, rounded
from tasks.problems.base import Score


def diversity(candidate: str, score: Score, champion: Champion, gate: DiversityGate) -> GateResult:
    """The metric must be at least `least`, and `share` of the champion's."""
    return _floor("diversity", candidate, score, champion, gate)


def floor(candidate: str, score: Score, champion: Champion, gate: FloorGate) -> GateResult:
    """The metric must be at least `least`, and `share` of the champion's."""
    return _floor(f"floors/{gate.metric}", candidate, score, champion, gate)


def _floor(name: str, candidate: str, score: Score, champion: Champion, gate: DiversityGate | FloorGate) -> GateResult:
    rule = f"{gate.metric} at least {gate.least:g}, and {gate.share:g} of the champion's"
    found = score.metrics.get(gate.metric, math.nan)
    if not math.isfinite(found):
        return refused(name, candidate, rule, f"{gate.metric} was not measured; there are: {', '.join(score.metrics)}")
    if champion.absent:
        least, note = gate.least, f"no champion yet; {gate.metric} {found:.6g}"
    elif champion.score is None:
        return refused(name, candidate, rule, champion.note)
    else:
        theirs = champion.score.metrics.get(gate.metric, math.nan)
        least, note = max(gate.least, gate.share * theirs), f"{gate.metric} {found:.6g} against {theirs:.6g}"
        if not math.isfinite(theirs):
            return refused(name, candidate, rule, f"{gate.metric} of the champion was not measured")
    return GateResult(name, candidate, found >= least, found, rounded(least), rule, note)


def check_floors(gates: Sequence[FloorGate], known: Collection[str] | None) -> None:
    """Raise ConfigError when a floor names a metric that the workload's outputs never have; None: nobody knows."""
    for place, gate in enumerate(gates):
        if known is not None and gate.metric not in known:
            said = f"gates.floors.{place}.metric: this problem has no {gate.metric!r}"
            raise ConfigError(f"{said}; there are: {', '.join(known)}; name one of them or leave the floor out")
