"""A small data set with a pattern that is known: weekdays, and promotions that double a day."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Rows

CONTEXT, HORIZON, SERIES, DAYS = 14, 5, 6, 80


class Week(Dataset):
    """Series of different sizes with one weekly pattern, which a promotion, known ahead, doubles for a day.

    Covariates of a day: promotion, one-hot weekday. Where training starts, half the pattern and no promotion is known.
    The place in the season where the forecast begins is the first static code, the series the second one,
    whose codes go on where the seven places end.
    """

    def __init__(self, **options: Any) -> None:
        rng = np.random.default_rng(0)
        promotion = (rng.random((SERIES, DAYS)) < 0.2).astype(np.float32)
        weekday = np.arange(DAYS) % 7
        level = np.arange(1, SERIES + 1)[:, None] * 5
        mean = level * np.array([1, 1, 1, 1, 2, 6, 4])[weekday] * (1 + promotion)
        self.units: Floats = rng.normal(mean, 0.1 * mean).clip(0).astype(np.float32)
        self.promotion: Floats = promotion[:, :, None]
        self.week: Floats = np.eye(7, dtype=np.float32)[weekday]
        origins = np.arange(CONTEXT - 1, DAYS - HORIZON)
        self.origins = np.repeat(origins, SERIES)
        self.groups = np.tile(np.arange(SERIES), len(origins))
        self.segments = {}
        rows = np.arange(len(self.origins))
        self.splits = {
            "train": rows[self.origins < 60],
            "valid": rows[self.origins >= 65],
            "test": rows[self.origins >= 65],
        }
        settings = {"horizon": HORIZON, "context": CONTEXT, "season": 7, "quantiles": (0.1, 0.5, 0.9), **options}
        self.contract = FeatureContract(
            problem="forecasting",
            inputs={
                "units": ("float32", (CONTEXT,)),
                "observed": ("float32", (CONTEXT,)),
                "future": ("float32", (HORIZON, 1)),
                "static": ("int64", (2,)),
                "past": ("float32", (CONTEXT, 8)),
                "calendar": ("float32", (HORIZON, 7)),
            },
            output_shape=(HORIZON, len(settings["quantiles"]) + bool(settings.get("mean"))),
            categories={"phase": tuple(map(str, range(7))), "store_id": tuple(map(str, range(SERIES)))},
            statistics={"mean_units": float(self.units.mean())},
            settings={"options": settings},
        )

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        line, past = self.groups[rows][:, None], self.origins[rows][:, None] + np.arange(1 - CONTEXT, 1)
        ahead, units = self._ahead(rows), self.units[line, past]
        found: Inputs = {
            "units": units,
            "observed": np.ones_like(units),
            "future": self.promotion[line, ahead],
            "static": np.concatenate([ahead[:, :1] % 7, 7 + line], axis=1),
            "past": np.concatenate([self.promotion[line, past], self.week[past]], axis=2),
            "calendar": self.week[ahead],
        }
        return {name: found[name] for name in names or found}

    def target(self, rows: Rows) -> Floats:
        values: Floats = self.units[self.groups[rows][:, None], self._ahead(rows)]
        return values

    def _ahead(self, rows: Rows) -> NDArray[np.int64]:
        days: NDArray[np.int64] = self.origins[rows][:, None] + np.arange(1, HORIZON + 1)
        return days

    def save(self, folder: Path) -> None:
        raise NotImplementedError


WEEK = Week()
