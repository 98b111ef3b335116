"""These gates limit how far a candidate is from the torch model that it was made from: its outputs, and its lists."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from tasks.gates.options import ParityGate
from tasks.gates.result import GateResult, at_most, refused

OTHERS = "about.json describes other bytes than model.onnx"


def parity(candidate: str, model: bytes, about: Mapping[str, Any], gate: ParityGate) -> GateResult:
    """The relative difference that compression measured must be within the limit, and measured on these very bytes."""
    rule = f"mean difference to torch at most {gate.tolerance:g} of the mean output"
    if not _of_these_bytes(model, about):
        return refused("parity", candidate, rule, OTHERS, gate.tolerance)
    return at_most("parity", candidate, _measured(about, "relative"), gate.tolerance, rule)


def lists(candidate: str, model: bytes, about: Mapping[str, Any], least: float) -> GateResult:
    """So large a share of what the torch model names, the file must name, too.

    A difference that is small beside all scores can be large beside those between the best.
    """
    name, rule = "parity/overlap", f"at least {least:g} of what the torch model names is named"
    if not _of_these_bytes(model, about):
        return refused(name, candidate, rule, OTHERS, least)
    overlap = _measured(about, "overlap")
    if overlap is None or not math.isfinite(overlap):
        why = "no overlap was measured; gates.parity.overlap is for models that name items, as of kind ranking"
        return refused(name, candidate, rule, why, least)
    return GateResult(name, candidate, overlap >= least, overlap, least, rule)


def _of_these_bytes(model: bytes, about: Mapping[str, Any]) -> bool:
    return about.get("sha256") == hashlib.sha256(model).hexdigest()


def _measured(about: Mapping[str, Any], name: str) -> float | None:
    measured = about.get("parity")
    value = measured.get(name) if isinstance(measured, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
