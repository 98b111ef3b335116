"""Rows whose time is a moment get a day of it, and keep the order within the day."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from tasks.tables.sources.base import Unreadable
from tasks.tables.sources.shape import Shape


def test_moments_become_a_day_and_seconds() -> None:
    moments = [datetime(2020, 1, 1, 23, 59, 59, 500_000, tzinfo=UTC), datetime(2020, 1, 2, 0, 0, 1, tzinfo=UTC)]
    for unit in ("ms", "us", "ns"):
        table = pl.DataFrame({"when": pl.Series(moments, dtype=pl.Datetime(unit, "UTC"))})
        found = Shape(seconds="when").before(table, "time")
        assert found["time"].to_list() == [date(2020, 1, 1), date(2020, 1, 2)]
        assert found["when"].to_list() == [1577923199.5, 1577923201.0]
    with pytest.raises(Unreadable, match=r"source\.shape\.seconds: None of when"):
        Shape(seconds="when").before(pl.DataFrame({"when": [moments[0], None]}), "time")
