"""This module places the rows of a long table in dense arrays, one line a series and one column a step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.problems.base import Floats

Positions = NDArray[np.int64]
FEW_ROWS = 5000  # below it, starting polars' engine costs more than what it saves


@dataclass(frozen=True)
class Grid:
    """A Grid holds N series over `steps` steps: `names` (N,) sorted; `cells` (rows,): line * steps + step of each row.

    `newest` (N,): number of each series' last row before the horizon.
    """

    names: NDArray[np.str_]
    steps: int
    cells: Positions
    newest: Positions

    def scatter(self, values: pl.Series, gap: float) -> Floats:
        """Return (N, steps) of a column (rows,) of 32-bit floats: `gap` where there is no row or no value."""
        dense = np.full(len(self.names) * self.steps, gap, dtype=np.float32)
        found = values.to_numpy()  # NaN where there is no value
        dense[self.cells] = found if np.isnan(gap) else np.where(np.isnan(found), np.float32(gap), found)
        return dense.reshape(-1, self.steps)

    def scatter_all(self, columns: Sequence[tuple[Floats, float]]) -> Floats | None:
        """Return (N, steps, columns) of the columns' values (rows,) and fillers for missing rows; None of none."""
        if not columns:
            return None
        gaps = np.array([gap for _, gap in columns], dtype=np.float32)
        dense = np.full((len(self.names) * self.steps, len(columns)), gaps, dtype=np.float32)
        for place, (values, _) in enumerate(columns):
            dense[:, place][self.cells] = values
        return dense.reshape(-1, self.steps, len(columns))


def place_rows(frame: pl.DataFrame, step: Positions, steps: int, horizon: int) -> tuple[Grid, pl.DataFrame]:
    """Return the grid of the rows whose `step` (rows,) is one of `steps`, and these rows.

    Series without a row before the last `horizon` steps are left out: they have no history to forecast from.
    """
    names, line = _lines(frame["series_id"])
    newest = np.full(len(names), -1, dtype=np.int64)
    np.maximum.at(newest, line, np.where(step < steps - horizon, step, -1))
    kept = newest >= 0
    inside = kept[line] & (step >= 0) & (step < steps)
    if not inside.all():
        frame, line, step = frame.filter(pl.Series(inside)), (np.cumsum(kept) - 1)[line[inside]], step[inside]
        names, newest = names[kept], newest[kept]
    rows = np.flatnonzero(step == newest[line])
    newest[line[rows]] = rows
    return Grid(names, steps, line * steps + step, newest), frame


def _lines(series: pl.Series) -> tuple[NDArray[np.str_], Positions]:
    """Return sorted names, and the place of each row's name among them."""
    if len(series) < FEW_ROWS:
        few, lines = np.unique(series.cast(pl.String).to_numpy().astype(np.str_), return_inverse=True)
        return few, lines.astype(np.int64)
    # Tables are mostly grouped by series: a look-up a run of equal names costs a fraction of one a row.
    changes = series.slice(1).ne_missing(series.slice(0, len(series) - 1)).to_numpy()
    begins = np.concatenate([[0], np.flatnonzero(changes) + 1])
    runs = series.gather(begins).cast(pl.String)
    names = runs.unique().sort()
    places = runs.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return names.to_numpy().astype(np.str_), np.repeat(places, np.diff(begins, append=len(series)))
