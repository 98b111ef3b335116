"""Two competitors are compared on the same series and times, by the errors that their records hold of these.

A record's `cells` are sums of the loss and its weight, by group of series and block of time: |y - f50| and |y| of sets
scored by WAPE, the pinball loss and |y| of those scored by WQL, squared errors of the mean and their count of those
scored by MSE. They are small enough to be kept, and all that the gates' paired interval needs. Each group is a line of
text, one number a block.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics import QUANTILES, Forecasts
from bench.sets import BenchSet
from tasks.core.errors import DataError
from tasks.gates.comparison import Comparison, compare
from tasks.problems.base import Clusters, Score
from tasks.problems.forecasting.dataset import block_length

MOST_GROUPS = 200
"""Of more series neighbours are one group: an interval over 200 groups is hardly wider, and the record stays small."""
CONFIDENCE, RESAMPLES = 0.95, 4000

Cells = Mapping[str, Sequence[str]]


def cells_of(data: BenchSet, forecasts: Forecasts) -> dict[str, list[str]]:
    """Return `loss` and `weight` of the test windows, a line for each group of series."""
    origins = data.origins.test
    actual, observed = data.targets(origins)
    loss: NDArray[Any]
    weight: NDArray[Any]
    if data.metric == "wape":
        assert forecasts.quantiles is not None
        loss, weight = np.abs(actual - forecasts.quantiles[..., QUANTILES.index(0.5)]), np.abs(actual)
    elif data.metric == "wql":
        assert forecasts.quantiles is not None
        gap, levels = actual[..., None] - forecasts.quantiles, np.array(QUANTILES)
        loss, weight = 2 * np.maximum(levels * gap, (levels - 1) * gap).mean(axis=-1), np.abs(actual)
    else:
        assert forecasts.mean is not None
        loss, weight = (actual.astype(np.float64) - forecasts.mean) ** 2, np.ones(actual.shape)
    count = len(data.series)
    groups = np.arange(count) * min(count, MOST_GROUPS) // count
    steps = np.array(origins)[:, None] - origins[0] + np.arange(data.horizon)
    blocks = steps // block_length(int(steps.max()) + 1, data.seasons[0], data.horizon)
    shape = (int(groups[-1]) + 1, int(blocks.max()) + 1)
    place = groups[None, :, None] * shape[1] + blocks[:, None, :]
    sums = (np.bincount(place[observed], part[observed], shape[0] * shape[1]) for part in (loss, weight))
    return {name: _lines(part.reshape(shape)) for name, part in zip(("loss", "weight"), sums, strict=True)}


def _lines(table: NDArray[Any]) -> list[str]:
    return [" ".join(f"{value:.6g}" for value in row) for row in table]


def paired(one: Sequence[Cells], other: Sequence[Cells]) -> Comparison:
    """Return how much larger the error of `one` is than that of `other`, with its interval over series and time.

    Each has the cells of some seeds, which are averaged. Raises DataError when their cells are not of the same windows.
    """
    tables = [[_table(cells) for cells in some] for some in (one, other)]
    shape, weight = tables[0][0].shape, tables[0][0][1]
    if any(table.shape != shape or not np.allclose(table[1], weight, rtol=1e-4) for some in tables for table in some):
        raise DataError("cells: two records of a set are of other windows; measure the set anew, all competitors of it")
    clusters = Clusters(np.arange(shape[1]), np.arange(shape[2])[None])
    first, second = (_score(np.mean(some, axis=0)) for some in tables)
    return compare(first, second, clusters, confidence=CONFIDENCE, resamples=RESAMPLES, seed=0)


def _table(cells: Cells) -> NDArray[Any]:
    """Return (2, groups, blocks): the losses and their weights."""
    return np.array([[line.split() for line in cells[name]] for name in ("loss", "weight")]).astype(np.float64)


def _score(steps: NDArray[Any]) -> Score:
    return Score(loss=steps[0].sum(axis=1), weight=steps[1].sum(axis=1), metrics={}, steps=steps.astype(np.float32))
