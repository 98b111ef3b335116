"""This set has items of which most days sell nothing: M5's 149 of the department HOBBIES_2 in one store, five years.

An item begins with its first sale. It is scored by the weighted quantile loss: the median of such days is zero
whatever the forecast knows, and its absolute error rewards that (Kolassa 2016, International Journal of Forecasting
32).
"""

from pathlib import Path

import numpy as np
import polars as pl

from bench.sets import BenchSet, file_of, rolling

FILE, CALENDAR = "m5/hobbies2_ca3_2011-01-29_2016-05-22.parquet", "m5/calendar.parquet"
HORIZON, ORIGINS = 28, 3


def hobbies(root: Path) -> BenchSet:
    """Return the set. Raises FileNotFoundError naming what is missing below `root`."""
    sales = pl.read_parquet(file_of(root, FILE))
    sold = sales.drop("id").to_numpy().astype(np.float32)
    observed = np.logical_or.accumulate(sold > 0, axis=1)
    days = np.array(sales.columns[1:], dtype="datetime64[D]")
    calendar = pl.read_parquet(file_of(root, CALENDAR)).sort("date")
    inside = np.isin(calendar["date"].to_numpy().astype("datetime64[D]"), days)
    event = calendar["event_name_1"].is_not_null().to_numpy()[inside]
    snap = calendar["snap_CA"].to_numpy()[inside]
    return BenchSet(
        name="hobbies",
        series=np.array(sales["id"].str.strip_suffix("_evaluation").to_list(), np.str_),
        values=np.where(observed, sold, 0),
        observed=observed,
        times=days.astype("datetime64[us]"),
        frequency="D",
        seasons=(7,),
        horizon=HORIZON,
        context=112,
        metric="wql",
        origins=rolling(len(days), HORIZON, ORIGINS, HORIZON),
        known={"event": event[None].astype(np.float32), "snap": snap[None].astype(np.float32)},
    )
