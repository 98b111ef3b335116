"""Parity measures how far an ONNX file's outputs are from those of the torch model that it was made from."""

from dataclasses import asdict, dataclass

import numpy as np

from tasks.problems.base import Floats


@dataclass(frozen=True)
class Parity:
    """`relative` is mean |difference| / mean |torch output|."""

    max_abs: float
    mean_abs: float
    relative: float

    def to_json(self) -> dict[str, float | None]:
        """Return plain values; None for numbers that are not finite."""
        return {name: float(f"{value:.6g}") if np.isfinite(value) else None for name, value in asdict(self).items()}


def parity(onnx_output: Floats, torch_output: Floats) -> Parity:
    """Measure differences over all rows. Raises ValueError when shapes differ."""
    if onnx_output.shape != torch_output.shape:
        raise ValueError(f"ONNX output has shape {onnx_output.shape}, torch output {torch_output.shape}")
    difference = np.abs(onnx_output.astype(np.float64) - torch_output)
    mean = float(difference.mean())
    scale = float(np.abs(torch_output).mean(dtype=np.float64))
    return Parity(float(difference.max()), mean, mean / scale if scale else float("inf") if mean else 0.0)
