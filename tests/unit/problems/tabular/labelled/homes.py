"""A made-up table of homes with a price that their columns tell, and whether they were sold."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.tabular.labelled.dataset import LabelledRows
from tasks.problems.tabular.labelled.problem import LabelledTabular

AS_OF = date(2026, 6, 30)
COLUMNS: dict[str, Any] = {
    "numbers": ["area", "rooms"],
    "booleans": ["garden"],
    "dates": ["listed"],
    "categories": ["town"],
    "id": ["home"],
}
VALUE: dict[str, Any] = {"kind": "tabular", "target": "price", "task": "value", "low": 0, **COLUMNS}
YES_NO: dict[str, Any] = {"kind": "tabular", "target": "sold", "task": "yes-no", **COLUMNS}
CLASSES: dict[str, Any] = {
    "kind": "tabular", "target": "size", "task": "classes", "classes": ["small", "large", "huge"], **COLUMNS,
}  # fmt: skip


def homes(count: int = 400) -> pl.DataFrame:
    """Every seventh area is not known, every ninth town neither; town D has two homes alone."""
    rng = np.random.default_rng(3)
    area = rng.gamma(9, 12, count)
    rooms = 1 + rng.integers(0, 5, count)
    town = np.where(np.arange(count) % 200 == 5, "D", rng.choice(["A", "B", "C"], count))
    garden = rng.random(count) < 0.4
    price = 1000 * area * (1 + (town == "B")) + 20_000 * garden + rng.normal(0, 2000, count)
    place = np.arange(count)
    return pl.DataFrame(
        {
            "home": [f"h{number:04d}" for number in place],
            "area": pl.Series([None if number % 7 == 0 else float(area[number]) for number in place], dtype=pl.Float64),
            "rooms": rooms,
            "garden": garden,
            "listed": [AS_OF - timedelta(days=int(number) % 90) for number in place],
            "town": pl.Series([None if number % 9 == 0 else str(town[number]) for number in place], dtype=pl.String),
            "owner": [f"o{int(number) % 200:04d}" for number in place],
            "weigh": 1.0 + place % 3,
            "price": np.maximum(price, 0).round(),
            "sold": price > 120_000,
            "size": np.array(["small", "large", "huge"])[np.searchsorted([90.0, 130.0], area)],
        }
    )


def problem(options: dict[str, Any] = VALUE, **changes: Any) -> LabelledTabular:
    built = get_problem(Spec(**{**options, **changes}))
    assert isinstance(built, LabelledTabular)
    return built


def dataset(options: dict[str, Any] = VALUE, table: pl.DataFrame | None = None, **changes: Any) -> LabelledRows:
    rows = homes() if table is None else table
    built = problem(options, **changes).features({"rows": rows.lazy()}, AS_OF)
    assert isinstance(built, LabelledRows)
    return built
