"""This makes rows for gradient boosting: one a series, origin and step ahead (direct forecasts, step as a feature).

Everything from the past is read at or before the origin, so no row sees its target, and all steps of all
windows are forecast in one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.sets import BenchSet, Floats

Level = Literal["none", "ratio", "last", "mean"]
Index = NDArray[np.int64]

LAGS = 28
PHASES = 8  # same-phase values that are looked at, one a season
CATEGORIES = 256  # a column of more distinct values is left out: the series' own level says it better
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Rows:
    """Rows are `x` (n, F); `offset`, `scale` (n,): a target is learned as (y - offset) / scale."""

    x: Floats
    offset: Floats
    scale: Floats


class Table:
    """A table has the rows of one set, with one way to take a series' level out of features and target.

    `ratio` divides by the mean absolute value of the last `context` steps, `last` and `mean` subtract that of them.
    """

    def __init__(self, data: BenchSet, level: Level) -> None:
        self.data, self.level = data, level
        self.values = np.where(data.observed, data.values, np.nan).astype(np.float32)
        self.lags = np.arange(min(LAGS, max(8, data.seasons[0]), data.context))
        self.spans = [data.context >> halving for halving in range(10) if data.context >> halving >= 6]
        self.seasons = [season for season in data.seasons if season > 1]
        self.statics = {name: np.unique(column, return_inverse=True)[1] for name, column in data.static.items()}
        self.statics = {name: codes for name, codes in self.statics.items() if codes.max() < CATEGORIES}
        self.calendar = {name: column for name, (_, column) in calendar(data).items()}
        # In the order in which `rows` stacks them.
        self.names = [
            *(f"lag_{lag + 1}" for lag in self.lags),
            *(f"mean_{span}" for span in self.spans),
            "std",
            "low",
            "high",
            *(f"{name}_now" for name in data.past),
            *(f"phase_{season}_{part}" for season in self.seasons for part in ("1", "2", "mean_4", "mean_8")),
            "step",
            *self.calendar,
            *data.known,
            *self.statics,
        ]

    @property
    def categorical(self) -> list[str]:
        """Return names of the columns that hold codes."""
        return list(self.statics)

    def rows(self, series: Index, origins: Index, steps: Index) -> Rows:
        """Return rows pair by pair (P k, F), for P pairs of series and origin (P,), each with steps (P, k) from 1."""
        data = self.data
        past, offset, scale = self._past(series, origins)
        target = (origins[:, None] + steps).ravel()
        one, at, ahead = (np.repeat(series, steps.shape[1]), np.repeat(origins, steps.shape[1]), steps.ravel())
        offset, scale = np.repeat(offset, steps.shape[1]), np.repeat(scale, steps.shape[1])
        columns: list[NDArray[np.generic]] = []
        for season in self.seasons:
            first = at + (ahead - 1) % season + 1 - season
            when = first[:, None] - season * np.arange(PHASES)
            phase = np.where(when >= 0, self.values[one[:, None], np.maximum(when, 0)], np.nan)
            phase = (phase - offset[:, None]) / scale[:, None]
            columns += [phase[:, 0], phase[:, 1], _mean(phase[:, :4]), _mean(phase)]
        columns += [ahead, *(column[target] for column in self.calendar.values())]
        columns += [array[one if len(array) > 1 else 0, target] for array in data.known.values()]
        columns += [codes[one] for codes in self.statics.values()]
        own = np.stack([np.asarray(column, np.float32) for column in columns], axis=1)
        return Rows(np.concatenate([np.repeat(past, steps.shape[1], axis=0), own], axis=1), offset, scale)

    def targets(self, series: Index, origins: Index, steps: Index, rows: Rows) -> Floats:
        """Return (P k,) targets of `rows`; NaN where nothing was observed."""
        actual = self.values[series[:, None], origins[:, None] + steps].ravel()
        learned: Floats = (actual - rows.offset) / rows.scale
        return learned

    def sample(self, end: int, first: int, count: int, rng: np.random.Generator) -> tuple[Index, Index, Index]:
        """Return random series and origins with `steps` (P, k) each, about `count` rows, that lie in [first, end]."""
        horizon = self.data.horizon
        per_pair = min(horizon, 8)
        starts = np.maximum(self.data.starts + self.lags.size - 1, first)
        # A series of n possible origins is drawn n times as often as one with a single origin.
        weight = np.maximum(end - horizon - starts + 1, 0).astype(np.float64)
        pairs = min(count // per_pair, int(weight.sum()) * max(1, horizon // per_pair))
        series = rng.choice(len(starts), pairs, p=weight / weight.sum())
        origins = starts[series] + (rng.random(pairs) * weight[series]).astype(np.int64)
        steps = rng.random((pairs, horizon)).argsort(axis=1)[:, :per_pair] + 1
        return series, origins, steps

    def _past(self, series: Index, origins: Index) -> tuple[Floats, Floats, Floats]:
        """Return features at the origin (P, Fo), and offset and scale of the target (P,)."""
        when = origins[:, None] - np.arange(self.data.context)
        window = np.where(when >= 0, self.values[series[:, None], np.maximum(when, 0)], np.nan)
        offset, scale = np.zeros(len(series), np.float32), np.ones(len(series), np.float32)
        if self.level == "ratio":
            size = np.nan_to_num(_mean(np.abs(window)))
            scale = np.where(size > 0, size, 1).astype(np.float32)
        elif self.level == "last":
            offset = np.nan_to_num(window[:, 0])
        elif self.level == "mean":
            offset = np.nan_to_num(_mean(window))
        window = ((window - offset[:, None]) / scale[:, None]).astype(np.float32)
        empty = np.isnan(window)
        mean = _mean(window)
        spread = np.sqrt(_mean(np.square(window - mean[:, None])))
        low = np.where(empty, np.inf, window).min(axis=1)
        high = np.where(empty, -np.inf, window).max(axis=1)
        features = [window[:, self.lags], *(_mean(window[:, :span])[:, None] for span in self.spans)]
        features += [np.stack([spread, low, high], axis=1)]
        features += [array[series if len(array) > 1 else 0, origins][:, None] for array in self.data.past.values()]
        return np.concatenate(features, axis=1).astype(np.float32), offset, scale


def calendar(data: BenchSet) -> dict[str, tuple[float, Floats]]:
    """Return the features of dates, name -> (length of the cycle, (T,) position in it).

    Only cycles of which the steps up to `data.fit_end` show two: of others nothing can be learned.
    """
    times = data.times
    days = times.astype("datetime64[D]")
    months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
    span = (times[data.fit_end] - times[0]) / DAY
    cycles = {
        "time_of_day": (1.0, 2, (times - days) / DAY),
        "weekday": (7.0, 14, (days - np.datetime64(0, "D")) / DAY % 7),
        "day_of_month": (31.0, 62, (days - months) / DAY),
        "day_of_year": (366.0, 732, (days - years) / DAY),
    }
    return {
        name: (length, column.astype(np.float32))
        for name, (length, needed, column) in cycles.items()
        if span >= needed and np.ptp(column) > 0
    }


def all_steps(data: BenchSet, origins: Sequence[int]) -> tuple[Index, Index, Index]:
    """Return every window of every series, in the order (window, series)."""
    count = len(data.series)
    series = np.tile(np.arange(count), len(origins))
    steps = np.tile(np.arange(1, data.horizon + 1), (len(series), 1))
    return series, np.repeat(np.array(origins), count), steps


def _mean(array: NDArray[np.floating]) -> Floats:
    """Return the mean of each row's known values; NaN if there are none, without a warning."""
    known = np.isfinite(array)
    count = known.sum(axis=1)
    total = np.where(known, array, 0).sum(axis=1, dtype=np.float64)
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return mean
