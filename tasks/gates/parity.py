"""This gate limits how far the candidate's outputs are from those of the torch model that it was made from."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from tasks.gates.options import ParityGate
from tasks.gates.result import GateResult, at_most, refused


def parity(candidate: str, model: bytes, about: Mapping[str, Any], gate: ParityGate) -> list[GateResult]:
    """What compression measured must be within the limits, and measured on these very bytes.

    A second result is about the lists that outputs name, where the gate asks for them: a difference that is small
    beside all scores can be large beside those between the best.
    """
    rule = f"mean difference to torch at most {gate.tolerance:g} of the mean output"
    if about.get("sha256") != hashlib.sha256(model).hexdigest():
        return [refused("parity", candidate, rule, "about.json describes other bytes than model.onnx", gate.tolerance)]
    found = [at_most("parity", candidate, _measured(about, "relative"), gate.tolerance, rule)]
    if gate.overlap is not None:
        found.append(_lists(candidate, _measured(about, "overlap"), gate.overlap))
    return found


def _lists(candidate: str, overlap: float | None, least: float) -> GateResult:
    name, rule = "parity/overlap", f"at least {least:g} of what the torch model names is named"
    if overlap is None or not math.isfinite(overlap):
        why = "no overlap was measured; gates.parity.overlap is for models that name items, as of kind ranking"
        return refused(name, candidate, rule, why, least)
    return GateResult(name, candidate, overlap >= least, overlap, least, rule)


def _measured(about: Mapping[str, Any], name: str) -> float | None:
    measured = about.get("parity")
    value = measured.get(name) if isinstance(measured, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
