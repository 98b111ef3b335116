"""This gate limits the bytes of the ONNX file."""

from tasks.gates.options import SizeGate
from tasks.gates.result import GateResult, at_most


def size(candidate: str, model: bytes, gate: SizeGate) -> GateResult:
    """The exact bytes to be released must be within the limit."""
    return at_most("size", candidate, len(model), gate.max_bytes, f"at most {gate.max_bytes:,} bytes")
