"""This gate refuses a candidate whose answers are less varied than the champion's: errors alone do not show it."""

import math

from tasks.gates.champion import Champion
from tasks.gates.options import DiversityGate
from tasks.gates.result import GateResult, refused, rounded
from tasks.problems.base import Score


def diversity(candidate: str, score: Score, champion: Champion, gate: DiversityGate) -> GateResult:
    """The metric must be at least `least`, and `share` of the champion's."""
    name = "diversity"
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
