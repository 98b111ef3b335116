"""Chances of classes are made as sure as validation rows say that they may be: one number divides all logits."""

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.problems.base import Correction, Floats

if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

MOST = 20.0
"""Logits are divided by so much at most, and multiplied by less: rows that are all right know no limit."""


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
    """Return the temperature with the least log loss on rows of the classes `number` (n,).

    None where either half of the rows, corrected by the other, has no less log loss than without a correction, and
    where no temperature has the least: on rows without an error it only grows less.
    """
    weighs = np.ones(len(number)) if weight is None else weight
    if not np.isfinite(logits).all():  # refused by the gates
        return None
    halves = slice(0, None, 2), slice(1, None, 2)  # every other row: a table may be in the order of its classes
    sizes = [_within(logits[half], number[half], weighs[half]) for half in halves]
    whole = _within(logits, number, weighs)
    if whole is not None and None not in sizes:
        crossed = sum(
            _loss(logits[half], number[half], weighs[half], size)
            for half, size in zip(halves, reversed(sizes), strict=True)
            if size is not None
        )
        if crossed < _loss(logits, number, weighs, 0.0):
            return Temperature(temperature=float(np.float32(math.exp(whole))))
    log.warning(
        "calibrate: no correction; validation rows are few or without an error, or it does not lower the log loss of "
        "rows it was not fitted on"
    )
    return None


def least_loss(logits: Floats, number: NDArray[np.int64], weight: NDArray[np.float64]) -> float:
    """Return the logarithm of the temperature, between 1 / MOST and MOST, with the least log loss."""
    from scipy.optimize import minimize_scalar

    end = math.log(MOST)
    return float(minimize_scalar(lambda size: _loss(logits, number, weight, size), bounds=(-end, end)).x)


def _within(logits: Floats, number: NDArray[np.int64], weight: NDArray[np.float64]) -> float | None:
    """Return the same; None without rows, or where the loss only grows less the surer the chances are."""
    if not len(number) or not weight.sum() > 0:
        return None
    found = least_loss(logits, number, weight)
    return None if found < 0.99 * -math.log(MOST) else found


def _loss(logits: Floats, number: NDArray[np.int64], weight: NDArray[np.float64], size: float) -> float:
    """Return the log loss of logits over exp(size), summed over rows by their weight."""
    apart = (logits.astype(np.float64) - logits.max(axis=1, keepdims=True)) * math.exp(-size)
    lost = np.log(np.exp(apart).sum(axis=1)) - apart[np.arange(len(number)), number]
    return float((weight * lost).sum())
