"""Live errors: of releases, by step and by segment, with the gates' interval against others on the same rows."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.gates.comparison import Comparison, compare
from tasks.gates.result import rounded
from tasks.problems.base import BY, Clusters, Score
from tasks.watching.join import OTHERS, Joined

RESAMPLES, RESAMPLES_OF_PARTS = 1000, 200
FEW_BLOCKS, WEEK = 5, 7
"""Days of truth are resampled in blocks: a week each, but at least so many blocks; with fewer nothing is judged."""
SEED = 7


@dataclass(frozen=True)
class Live:
    """Live holds the error of one release over some rows of truth. `part`: all, step or a segment, with its `value`.

    `bias`: as a share of what was true; `mean_bias`: that of forecast means, if there are any. `coverage`: share of the
    truth within the interval. `comparisons`: relative to `naive` and to `former`, the champion before it; None where
    there is nothing to compare with.
    """

    release: int
    part: str
    value: str
    rows: int
    error: float
    bias: float
    coverage: float | None
    comparisons: dict[str, Comparison | None]
    mean_bias: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        found = {
            name: None if one is None else {key: rounded(value) for key, value in asdict(one).items()}
            for name, one in self.comparisons.items()
        }
        return {
            "release": self.release,
            "part": self.part,
            "value": self.value,
            "rows": self.rows,
            "error": rounded(self.error),
            "bias": rounded(self.bias),
            **({} if self.mean_bias is None else {"mean_bias": rounded(self.mean_bias)}),
            "coverage": rounded(self.coverage),
            **found,
        }


def live_errors(joined: Joined, confidence: float) -> list[Live]:
    """Return the errors of every release of the window: of all rows, by step, by each value of each segment."""
    found: list[Live] = []
    for (release,), rows in joined.rows.sort("release", "day", "entity", "step").group_by(
        "release", maintain_order=True
    ):
        number = int(str(release))
        found.append(_live(number, "all", "", rows, joined.exponent, confidence, RESAMPLES))
        for part, value, some in _parts(rows):
            found.append(_live(number, part, value, some, joined.exponent, confidence, RESAMPLES_OF_PARTS))
    return found


def _parts(rows: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    columns = {"step": "step"} if rows["step"].n_unique() > 1 else {}
    columns |= {name: name.removeprefix(BY) for name in rows.columns if name.startswith(BY)}
    for column, part in columns.items():
        for (value,), some in rows.drop_nulls(column).sort(column).group_by(column, maintain_order=True):
            yield part, str(value), some


def _live(
    release: int, part: str, value: str, rows: pl.DataFrame, exponent: float, confidence: float, resamples: int
) -> Live:
    inside = rows["inside"].drop_nulls()
    return Live(
        release=release,
        part=part,
        value=value,
        rows=rows.height,
        error=error_of(rows, exponent),
        bias=_ratio(rows["gap"].sum(), rows["size"].sum()),
        coverage=float(inside.mean()) if len(inside) else None,  # type: ignore[arg-type]  # of booleans it is a number
        mean_bias=_mean_bias(rows),
        comparisons={name: against(rows, name, exponent, confidence, resamples) for name in OTHERS},
    )


def _mean_bias(rows: pl.DataFrame) -> float | None:
    """Return the bias of forecast means; None where none was forecast."""
    if "mean_gap" not in rows.columns or rows["mean_gap"].null_count() == rows.height:
        return None
    told = rows.drop_nulls("mean_gap")
    return float(_ratio(told["mean_gap"].sum(), told["size"].sum()))


def error_of(rows: pl.DataFrame, exponent: float) -> float:
    """Return the primary error; NaN where nothing has a weight."""
    return float(_ratio(rows["loss"].sum(), rows["weight"].sum()) ** exponent)


def against(
    rows: pl.DataFrame, other: str, exponent: float, confidence: float, resamples: int, times: float = 1.0
) -> Comparison | None:
    """Compare with `times` the error of another column of losses on the same rows; None if that cannot be done.

    Rows without that loss are left out. Entities and blocks of days are resampled, as the gates do.
    """
    cells = (
        rows.drop_nulls(other)
        .with_columns(pl.Series("block", blocks(rows.drop_nulls(other)["day"])))
        .group_by("entity", "block")
        .agg(pl.col("loss", "weight", other).sum())
        .sort("entity", "block")
    )
    if cells["block"].n_unique() < 2:
        return None  # what all entities share on a day would count as if it were chance
    own, theirs, weight = (cells[name].to_numpy().astype(np.float64) for name in ("loss", other, "weight"))
    clusters = Clusters(
        cells["entity"].rank("dense").to_numpy().astype(np.int64), cells["block"].to_numpy().astype(np.int64)[:, None]
    )
    mine, reference = (_score(loss, weight, exponent) for loss in (own, theirs * times ** (1 / exponent)))
    try:
        return compare(mine, reference, clusters, confidence=confidence, resamples=resamples, seed=SEED)
    except ValueError:
        return None


def _score(loss: NDArray[np.float64], weight: NDArray[np.float64], exponent: float) -> Score:
    return Score(loss, weight, {}, np.stack([loss, weight])[:, :, None].astype(np.float32), exponent)


def blocks(days: pl.Series) -> NDArray[np.int64]:
    """Return (rows,) the block of each day, counted over the days of truth that there are."""
    place = days.rank("dense").to_numpy().astype(np.int64) - 1
    count = int(place.max()) + 1 if len(place) else 0
    return place // max(1, min(WEEK, count // FEW_BLOCKS))


def span(rows: pl.DataFrame) -> tuple[date, date]:
    """Return the first and the last day of truth."""
    days: list[date] = rows["day"].unique().sort().to_list()
    return days[0], days[-1]


def _ratio(above: Any, below: Any) -> float:
    return float(above) / float(below) if below > 0 else float("nan")
