"""Sales that hang on the weather: a small table with every sort of column, and the options that name them."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

FIRST, AS_OF = date(2026, 1, 1), date(2026, 5, 31)
AHEAD = 7
PROBLEM: dict[str, Any] = {
    "kind": "forecasting",
    "horizon": AHEAD,
    "context": 21,
    "season": 7,
    "stride": 3,
    "test_origins": 1,
    "valid_origins": 2,
    "min_history": 14,
    "static": ["region"],
    "numbers": ["floor_area"],
    "covariates": {
        "temperature": {"known": "past", "transform": "standard", "low": -40, "high": 50},
        "offer": {"known": "ahead", "missing": True},
        "price": {"known": "ahead", "transform": "log-ratio"},
        "visitors": {"known": "past", "transform": "standard", "missing": True},
    },
    "categories": {"sky": {"known": "past"}, "day_type": {"known": "ahead", "missing": True}},
}
CHECKS = {"max_volume_ratio": 20.0}


def weather_table(shops: int = 5, as_of: date = AS_OF) -> pl.DataFrame:
    """One row a shop and day, `AHEAD` of them ahead: temperatures below zero, offers and visitors with gaps."""
    days = [FIRST + timedelta(days=offset) for offset in range((as_of - FIRST).days + AHEAD + 1)]
    rng = np.random.default_rng(1)
    cold = -5 + 20 * np.sin(np.pi * np.arange(len(days)) / 365) + rng.normal(0, 3, len(days))
    frames = []
    for shop in range(shops):
        offer, visitors = rng.random(len(days)).round(2), rng.integers(100, 900, len(days)).astype(float)
        frames.append(
            pl.DataFrame(
                {
                    "date": days,
                    "series_id": f"shop{shop}",
                    "region": ["north", "south"][shop % 2],
                    "floor_area": 100.0 + 400 * shop,
                    "units": rng.poisson(20 + 5 * shop + 10 * offer + np.maximum(cold, 0)).astype(float),
                    "temperature": cold.round(1),
                    "offer": np.where(rng.random(len(days)) < 0.2, np.nan, offer),
                    "price": rng.uniform(1, 3, len(days)).round(2),
                    "visitors": np.where(rng.random(len(days)) < 0.3, np.nan, visitors),
                    "sky": rng.choice(["clear", "rain", "snow"], len(days)),
                    "day_type": [["school", "weekend", None][(day.weekday() >= 5) + (day.day == 13)] for day in days],
                }
            )
        )
    known = pl.col("date") <= as_of
    past = [pl.when(known).then(name).alias(name) for name in ("units", "temperature", "visitors", "sky")]
    table = pl.concat(frames).with_columns(pl.col("offer", "visitors").fill_nan(None))
    return table.with_columns(past).sort("series_id", "date")
