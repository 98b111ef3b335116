"""Values far below one, such as returns, are drawn with as many digits as others."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest


@pytest.mark.parametrize(("size", "places"), [(0.002, 6), (2.0, 3), (2000.0, 3)])
def test_pictures_of_small_values_keep_their_digits(sales: Any, size: float, places: int) -> None:
    changes: dict[str, Any] = {
        "static": [],
        "price": None,
        "promotions": [],
        "positive": False,
        "horizon": 2,
        "context": 8,
    }
    problem = sales.problem(**changes, season=7, min_history=8, test_origins=1, valid_origins=1)
    days = pl.date_range(date(2026, 1, 1), date(2026, 2, 10), eager=True)
    units = size * (1 + 0.123456789 * np.sin(np.arange(len(days))))
    table = pl.LazyFrame({"date": days, "series_id": "a", "units": units})
    dataset = problem.features({"series": table}, date(2026, 2, 10))
    rows = dataset.splits["test"]
    (example,) = problem.examples(dataset, rows, {"candidate": problem.naive(dataset, rows)}, 1)
    assert example.actual == tuple(round(float(value), places) for value in dataset.target(rows)[0])
