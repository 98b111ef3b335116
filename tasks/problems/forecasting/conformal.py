"""Quantiles about the median are moved to where they should have been on validation rows.

Conformalized quantile regression (Romano, Patterson & Candès 2019, arXiv:1905.03222), each quantile by itself, by
blocks of steps ahead and classes of size. The median stays: it is the forecast, by which all was chosen, and what it
was off by in the validation's weeks is no rule for those to come. On houses by month, as of an earlier origin, moving
it took the error from .115 to .257, on hours of pollution from .405 to .439. What they prove holds where later rows
are exchangeable with those. Over time they are not: which share of the truth a band covers afterwards is measured on
test rows, and by the watch.
"""

import logging
import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Correction, Floats, rows_within
from tasks.problems.forecasting.options import Options

if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

WAYS = tuple(product((1, 3), (1, 2, 4)))
"""So many classes of size and blocks of steps are tried; few ways, so that their choice fits next to nothing."""
Made = tuple[str, tuple[str, ...], str, dict[str, Any]]
FLOAT = 1
"""So ONNX numbers float32."""
LEAST = 50
"""The quantile of a class and block is read off at least so many values."""
FEW_STRETCHES = 4
"""An expected value is corrected where validation rows span at least so many horizons."""
MOST_BYTES = 2**23
"""So much of outputs is looked at, rows spread evenly: a search fits a correction to each of its trials."""


class Conformal(Correction):
    """It adds to each quantile some share of the row's own band, averaged over its steps.

    Gaps between quantiles that would then be negative are none, from the median outwards: nothing crosses. `shifts`:
    the share by class, block and quantile. `edges`: the width, in units, above which a row is in the next class.
    `blocks`: that of each step ahead. `median`: its place. With `positive`, what falls below zero is zero. Expected
    values, if there are any (`mean`), are multiplied by `factor`.
    """

    shifts: tuple[tuple[tuple[float, ...], ...], ...]
    edges: tuple[float, ...]
    blocks: tuple[int, ...]
    median: int
    positive: bool
    mean: bool
    factor: float = 1.0

    def apply(self, output: Floats) -> Floats:
        shifts, count = np.array(self.shifts, np.float32), len(self.shifts[0][0])
        width = widths(output, count)
        place = np.searchsorted(np.array(self.edges, np.float32), width)
        moved = output.copy()
        moved[:, :, :count] += shifts[place][:, list(self.blocks)] * width[:, None, None]
        moved[:, :, count:] *= np.float32(self.factor)
        moved = np.maximum(moved, 0) if self.positive else moved
        gaps = np.maximum(np.diff(moved[:, :, :count], axis=2), 0)
        for level in range(self.median - 1, -1, -1):
            moved[:, :, level] = moved[:, :, level + 1] - gaps[:, :, level]
        for level in range(self.median + 1, count):
            moved[:, :, level] = moved[:, :, level - 1] + gaps[:, :, level - 1]
        return np.maximum(moved, 0) if self.positive else moved

    def nodes(self, given: str, wanted: str) -> tuple["list[onnx.NodeProto]", dict[str, NDArray[Any]]]:
        """Return the nodes of `apply`. They work on all steps of a row as one line, which is several times as fast."""
        classes, blocks, count = np.array(self.shifts).shape
        outputs, horizon = count + self.mean, len(self.blocks)
        table = np.zeros((classes, blocks, outputs), np.float32)
        table[:, :, :count] = self.shifts
        flat = table.reshape(classes, -1)
        across = np.zeros((horizon, outputs, 1), np.float32)
        across[:, count - 1], across[:, 0] = 1 / horizon, -1 / horizon
        constants = {"line": np.array([-1, horizon * outputs]), "across": across.reshape(-1, 1), "first": flat[:1]}
        made: list[Made] = [("Reshape", (given, "line"), "values", {}), ("MatMul", ("values", "across"), "width", {})]
        share = "first"
        if classes > 1:
            constants |= {"edges": np.array(self.edges, np.float32), "further": np.diff(flat, axis=0)}
            made += [("Greater", ("width", "edges"), "over", {})]
            made += [("Cast", ("over",), "passed", {"to": FLOAT})]
            made += [("Gemm", ("passed", "further", "first"), share := "share", {})]
        if blocks > 1:
            places = np.array(self.blocks)[:, None] * outputs + np.arange(outputs)
            constants["places"] = places.reshape(-1)
            made += [("Gather", (share, "places"), "shares", {"axis": 1})]
        else:
            constants["times"] = np.array([1, horizon])
            made += [("Tile", (share, "times"), "shares", {})]
        made += [("Mul", ("shares", "width"), "shift", {}), ("Add", ("values", "shift"), last := "moved", {})]
        if self.positive:
            made += [("Relu", (last,), last := "floored", {})]
        # Two steps at a time: ONNX Runtime takes twice as long for products of fewer numbers.
        together = 1 if horizon % 2 else 2
        apart, floor = np.eye(outputs, dtype=np.float32), np.full(outputs, -np.inf, np.float32)
        for level in range(count):
            if level != self.median:
                inner, sign = (level + 1, -1) if level < self.median else (level - 1, 1)
                apart[level, level], apart[inner, level], floor[level] = sign, -sign, 0
        back = np.linalg.inv(apart)
        back[:, count:] *= self.factor
        constants |= {
            "steps": np.array([-1, together * outputs]),
            "apart": np.kron(np.eye(together), apart).astype(np.float32),
            "back": np.kron(np.eye(together), back).astype(np.float32),
        }
        made += [("Reshape", (last, "steps"), "lines", {}), ("MatMul", ("lines", "apart"), "gaps", {})]
        if self.positive:
            made += [("Relu", ("gaps",), "opened", {})]
        else:
            constants["floor"] = np.tile(floor, together)
            made += [("Max", ("gaps", "floor"), "opened", {})]
        made += [("MatMul", ("opened", "back"), last := "ordered", {})]
        if self.positive:
            made += [("Relu", (last,), last := "cut", {})]
        constants["shape"] = np.array([-1, horizon, outputs])
        made += [("Reshape", (last, "shape"), wanted, {})]
        return _named(made, {given, wanted}, wanted), {f"{wanted}_{name}": item for name, item in constants.items()}


def _named(made: list[Made], kept: set[str], prefix: str) -> "list[onnx.NodeProto]":
    """Return nodes of (operator, inputs, output, attributes); all but the `kept` names have the prefix."""
    from onnx import helper  # only a stage that exports needs it

    def name(said: str) -> str:
        return said if said in kept else f"{prefix}_{said}"

    return [helper.make_node(kind, [*map(name, given)], [name(wanted)], **how) for kind, given, wanted, how in made]


def widths(output: Floats, count: int) -> Floats:
    """Return (rows,) the outermost of `count` quantiles' distance, averaged over steps."""
    average = output.mean(axis=1)
    width: Floats = average[:, count - 1] - average[:, 0]
    return width


def fit(output: Floats, target: NDArray[np.floating], origins: NDArray[np.int64], options: Options) -> Conformal | None:
    """Fit the correction of outputs (rows, horizon, outputs), rows in order of time. target: (rows, horizon), or NaN.

    origins: (rows,), the last known step of each, whose targets are the steps after it.

    Of WAYS the one is taken that has the least pinball loss when each half of the rows is corrected by the other, or
    none if that is no less than without. Stretches of time say whether expected values get a factor. None if neither
    helps, or if there are too few values.
    """
    most = rows_within(4 * math.prod(output.shape[1:]), MOST_BYTES)
    rows = np.unique(np.linspace(0, len(output) - 1, min(len(output), most)).astype(np.int64))
    output, target, origins = output[rows], target[rows], origins[rows]
    halves = np.array_split(np.arange(len(rows)), 2)
    without = pinball_sum(output, target, options)
    least, best = without, None
    for way in WAYS:
        one, other = (_fitted(output[half], target[half], options, *way) for half in halves)
        if one is None or other is None:
            continue
        crossed = np.concatenate([other.apply(output[halves[0]]), one.apply(output[halves[1]])])
        loss = pinball_sum(crossed, target, options)
        if loss < least:
            least, best = loss, way
    factor = mean_factor(output, target, origins) if options.mean else 1.0
    if best is None:
        log.warning(
            "calibrate: quantiles stay; validation rows are few, or none lowers the loss of rows it was not fitted on"
        )
        return _still(options, factor) if factor != 1 else None
    log.info("calibrate: %d classes, %d blocks: pinball loss %.4f times that without", *best, least / without)
    found = _fitted(output, target, options, *best)
    return found and found.model_copy(update={"factor": factor})


def mean_factor(output: Floats, target: NDArray[np.floating], origins: NDArray[np.int64]) -> float:
    """Return sum y / sum f of the last output f, the factor that leaves it without a bias; 1 if that is no gain.

    It is a gain if stretches of time that are each multiplied by the factor of all before them, as later days will be
    by that of these, are together less far from their sums of truth: forecasts are judged by what came after them
    (Dawid 1984, doi:10.2307/2981683). A stretch is as long as the horizon, since what moves the days after one origin
    moves them all; of fewer than FEW_STRETCHES it would be chance that decides, and there is no factor.
    """
    horizon, known = target.shape[1], np.isfinite(target)
    steps = origins[:, None] + np.arange(1, horizon + 1)
    count = (int(np.ptp(steps)) + 1) // horizon if len(steps) else 0
    if count < FEW_STRETCHES:
        log.info(
            "calibrate: the mean stays; validation rows span %d horizon(s) of %d that are needed", count, FEW_STRETCHES
        )
        return 1.0
    place = (count - 1 - np.minimum((steps.max() - steps) // horizon, count - 1))[known]
    truth, said = (np.bincount(place, values[known], count).cumsum() for values in (target, output[:, :, -1]))
    if not (min(truth) > 0 and min(said) > 0):  # sums of signed values may vanish: there is no ratio to trust
        return 1.0
    came, told = np.diff(truth), np.diff(said)
    before, after = (float(np.abs(by * told - came).sum()) for by in (1, truth[:-1] / said[:-1]))
    factor = float(truth[-1] / said[-1])
    log.info("calibrate: the mean times %.4f would be off by %.3f times what it was", factor, after / (before or 1.0))
    return factor if after < before else 1.0


def _still(options: Options, factor: float) -> Conformal:
    """Return a correction that leaves quantiles as they are."""
    return Conformal(
        shifts=(((0.0,) * len(options.quantiles),),),
        edges=(),
        blocks=(0,) * options.horizon,
        median=options.median,
        positive=options.positive,
        mean=options.mean,
        factor=factor,
    )


def _fitted(
    output: Floats, target: NDArray[np.floating], options: Options, classes: int, blocks: int
) -> Conformal | None:
    """Return the correction of so many classes and blocks, the median's none; None if one has too few values."""
    count, horizon = len(options.quantiles), options.horizon
    width = widths(output, count)
    if len(width) < classes:
        return None
    cuts, ordered = len(width) * np.arange(1, classes) // classes, np.sort(width)
    edges = (ordered[cuts - 1] + ordered[cuts]) / 2  # between two rows: rounding moves none into another class
    place = np.searchsorted(edges, width)
    block = np.arange(horizon) * blocks // horizon
    known = np.isfinite(target) & (width > 0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # a row without a width is in no cell
        apart = (target[:, :, None] - output[:, :, :count]) / width[:, None, None]
    shifts = []
    for row in range(classes):
        for step in range(blocks):
            cell = known & (place == row)[:, None] & (block == step)
            if cell.sum() < LEAST:
                return None
            gaps = np.sort(apart[cell], axis=0)
            shifts.append([_edge(gaps[:, level], options.quantiles[level]) for level in range(count)])
    table = np.array(shifts, np.float32).reshape(classes, blocks, count)
    if not np.isfinite(table).all():  # outputs that are no numbers are refused by the gates
        return None
    table[:, :, options.median] = 0
    return Conformal(
        shifts=table.tolist(),
        edges=edges.tolist(),
        blocks=block.tolist(),
        median=options.median,
        positive=options.positive,
        mean=options.mean,
    )


def _edge(ordered: NDArray[np.floating], level: float) -> float:
    """Return the value that a further one is at most with a chance of `level`, from `ordered` exchangeable ones.

    It lies on the far side, so that a band between two levels covers no less than it says.
    """
    count = len(ordered)
    if level < 0.5:
        return float(ordered[count - min(count, math.ceil((count + 1) * (1 - level)))])
    return float(ordered[min(count, math.ceil((count + 1) * level)) - 1])


def pinball_sum(output: Floats, target: NDArray[np.floating], options: Options) -> float:
    """Return the pinball loss, summed over quantiles and all steps that were observed, in units."""
    gap = target[:, :, None].astype(np.float64) - output[:, :, : len(options.quantiles)]
    levels = np.array(options.quantiles)
    return float(np.nansum(np.maximum(levels * gap, (levels - 1) * gap)))
