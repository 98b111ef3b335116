"""This gate limits how far the candidate's outputs are from those of the torch model that it was made from."""

import hashlib
from collections.abc import Mapping
from typing import Any

from tasks.gates.options import ParityGate
from tasks.gates.result import GateResult, at_most, refused


def parity(candidate: str, model: bytes, about: Mapping[str, Any], gate: ParityGate) -> GateResult:
    """The relative difference that compression measured must be within the limit, and measured on these very bytes."""
    rule = f"mean difference to torch at most {gate.tolerance:g} of the mean output"
    if about.get("sha256") != hashlib.sha256(model).hexdigest():
        return refused("parity", candidate, rule, "about.json describes other bytes than model.onnx", gate.tolerance)
    measured = about.get("parity")
    relative = measured.get("relative") if isinstance(measured, Mapping) else None
    value = float(relative) if isinstance(relative, int | float) else None
    return at_most("parity", candidate, value, gate.tolerance, rule)
