"""These strategies make rows without a label, which the teachers label: small students of trees need more rows."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.problems.base import Dataset, Floats, Inputs, Rows, Synthesis


class Mixed(Synthesis):
    """Mixed makes a row of two training rows that are alike, the second the nearest of `near` drawn at random.

    Each column is the second's with probability `swap`; a number is else drawn from between both and a quarter of
    their distance around. Distances are over numbers in multiples of their deviation, and one for each category that
    differs. After MUNGE (Bucila, Caruana & Niculescu-Mizil 2006, "Model compression"); that teachers label rows of
    resampled columns is FAST-DAD's way (Fakoor et al. 2020, arXiv:2006.14284).
    """

    swap: float = Field(default=0.3, ge=0, le=1)
    near: int = Field(default=32, gt=0)

    def make(self, dataset: Dataset, rng: np.random.Generator) -> tuple[Inputs, Rows]:
        train = dataset.splits["train"]
        first = rng.choice(train, self.rows)
        statistics = dataset.contract.statistics
        scale = np.array(statistics.get("scale", ()), dtype=np.float32)
        second = np.empty_like(first)
        size = 4096
        for start in range(0, len(first), size):
            part = first[start : start + size]
            second[start : start + size] = _nearest(dataset, part, rng.choice(train, (len(part), self.near)), scale)
        one, other = dataset.inputs(first), dataset.inputs(second)
        made = {name: values.copy() for name, values in one.items()}
        if "codes" in made:
            swapped = rng.random(made["codes"].shape) < self.swap
            made["codes"][swapped] = other["codes"][swapped]
        if "numeric" in made:
            shape = made["numeric"].shape
            share = rng.uniform(-0.25, 1.25, shape).astype(np.float32)
            flags = _flags(dataset)
            mixed = one["numeric"] + share * (other["numeric"] - one["numeric"])
            both = (one["observed"] > 0) & (other["observed"] > 0) & ~flags
            swapped = rng.random(shape) < self.swap
            made["numeric"] = np.where(swapped, other["numeric"], np.where(both, mixed, one["numeric"]))
            made["observed"] = np.where(swapped, other["observed"], one["observed"])
        return made, first


def _flags(dataset: Dataset) -> NDArray[np.bool_]:
    """Return (features,) which features have whole values alone, such as flags and parts of dates: none lie between."""
    knots = dataset.contract.statistics["knots"]
    return np.array([all(float(value).is_integer() for value in values) for values in knots])


def _nearest(dataset: Dataset, rows: Rows, others: Rows, scale: Floats) -> Rows:
    """Return (n,) the nearest of the `others` (n, near) of each row, but for a row itself."""
    mine, theirs = dataset.inputs(rows), dataset.inputs(others.ravel())
    shape = others.shape
    distance = np.where(others == rows[:, None], np.inf, 0.0)
    if "numeric" in mine:
        gap = (mine["numeric"][:, None] - theirs["numeric"].reshape(*shape, -1)) / scale
        distance = distance + (gap**2).sum(axis=2)
    if "codes" in mine:
        distance = distance + (mine["codes"][:, None] != theirs["codes"].reshape(*shape, -1)).sum(axis=2)
    chosen: Rows = others[np.arange(len(rows)), distance.argmin(axis=1)]
    return chosen


SYNTHESIS: dict[str, type[Synthesis]] = {"mixed": Mixed}
