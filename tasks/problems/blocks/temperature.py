"""Chances of classes are made as sure as validation rows say that they may be: one number divides all logits."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.problems.base import Correction, Floats

if TYPE_CHECKING:
    import onnx

MOST = 20.0
"""Logits are divided by so much at most, and multiplied by so much: rows that are all right know no limit."""


class Temperature(Correction):
    """It divides logits (n, classes) by `temperature`; the likeliest class stays. Guo et al. 2017, arXiv:1706.04599."""

    temperature: float = Field(gt=0)

    def apply(self, output: Floats) -> Floats:
        return output * self._factor

    def nodes(self, given: str, wanted: str) -> tuple["list[onnx.NodeProto]", dict[str, NDArray[Any]]]:
        from onnx import helper  # only a stage that exports needs it

        factor = f"{wanted}_factor"
        return [helper.make_node("Mul", [given, factor], [wanted])], {factor: np.array(self._factor)}

    @property
    def _factor(self) -> np.float32:
        return np.float32(1 / self.temperature)


def fit_temperature(
    logits: Floats, number: NDArray[np.int64], weight: NDArray[np.float64] | None = None
) -> Temperature | None:
    """Return the temperature with the least log loss on rows of the classes `number` (n,); None without any row."""
    from scipy.optimize import minimize_scalar

    weighs = np.ones(len(number)) if weight is None else weight
    wide = logits.astype(np.float64)
    if not len(number) or not np.isfinite(wide).all() or not weighs.sum() > 0:
        return None
    apart = wide - wide.max(axis=1, keepdims=True)
    right = apart[np.arange(len(number)), number]

    def loss(size: float) -> float:
        factor = math.exp(-size)
        return float((weighs * (np.log(np.exp(apart * factor).sum(axis=1)) - right * factor)).sum() / weighs.sum())

    found = minimize_scalar(loss, bounds=(-math.log(MOST), math.log(MOST)), method="bounded")
    return Temperature(temperature=float(np.float32(math.exp(found.x))))
