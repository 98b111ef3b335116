"""Parity measures how far an ONNX file's outputs are from those of the torch model that it was made from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Floats

Names = Callable[[Floats], NDArray[np.int64] | None]
"""What outputs of all rows name, see `Problem.named`."""


@dataclass(frozen=True)
class Parity:
    """`relative` is mean |difference| / mean |torch output|. `overlap`: see `overlap`; None where nothing is named."""

    max_abs: float
    mean_abs: float
    relative: float
    overlap: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return plain values; None for numbers that are not finite."""
        measured = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: float(f"{value:.6g}") if np.isfinite(value) else None for name, value in measured.items()}


def parity(onnx_output: Floats, torch_output: Floats, names: Names = lambda _: None) -> Parity:
    """Measure differences over all rows. Raises ValueError when shapes differ."""
    if onnx_output.shape != torch_output.shape:
        raise ValueError(f"ONNX output has shape {onnx_output.shape}, torch output {torch_output.shape}")
    difference = np.abs(onnx_output.astype(np.float64) - torch_output)
    mean = float(difference.mean())
    scale = float(np.abs(torch_output).mean(dtype=np.float64))
    named, meant = names(onnx_output), names(torch_output)
    shared = None if named is None or meant is None else overlap(named, meant)
    return Parity(float(difference.max()), mean, mean / scale if scale else float("inf") if mean else 0.0, shared)


def overlap(named: NDArray[np.int64], meant: NDArray[np.int64]) -> float:
    """Return the mean share of a list that another one has, in any order, of lists (n, places); -1 is an empty place.

    Of two lists the longer one counts; two that are empty are alike.
    """
    shared = ((named[:, :, None] == meant[:, None, :]) & (named[:, :, None] >= 0)).sum(axis=(1, 2))
    longer = np.maximum((named >= 0).sum(axis=1), (meant >= 0).sum(axis=1))
    return float(np.where(longer > 0, shared / np.maximum(longer, 1), 1.0).mean())
