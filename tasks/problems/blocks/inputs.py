"""Which of the contract's inputs a model takes: what it does not take need not be gathered, nor be in its ONNX file."""

from collections.abc import Iterable
from typing import Any


def inputs_of(model: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Names of the inputs that a model takes, in order: all `names` of the contract unless its `uses` says which."""
    uses: tuple[str, ...] = getattr(model, "uses", tuple(names))
    return uses
