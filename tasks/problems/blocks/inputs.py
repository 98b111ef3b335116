"""A model may take only some of the contract's inputs: others need not be gathered, nor be in its ONNX file."""

from collections.abc import Iterable
from typing import Any


def inputs_of(model: Any, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the inputs that a model takes, in order: its `uses`, or else all `names` of the contract."""
    uses: tuple[str, ...] = getattr(model, "uses", tuple(names))
    return uses
