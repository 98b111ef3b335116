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


def test_texts_of_moments_become_a_day_and_seconds_in_a_form_or_in_iso() -> None:
    for form, texts in (
        (None, ["2020-01-01 23:59:59", "2020-01-02T00:00:01"]),
        ("%d.%m.%Y %H:%M", ["01.01.2020 23:59", "02.01.2020 00:01"]),
    ):
        found = Shape(seconds="when", time_format=form).before(pl.DataFrame({"when": texts}), "time")
        assert found["time"].to_list() == [date(2020, 1, 1), date(2020, 1, 2)]
        assert found["when"].dtype == pl.Float64 and found["when"].is_sorted()
    with pytest.raises(Unreadable, match=r"'soon' of when is no number of seconds since 1970, nor a moment"):
        Shape(seconds="when").before(pl.DataFrame({"when": ["2020-01-01 10:00", "soon"]}), "time")
    other = pl.DataFrame({"when": ["01.01.2020 23:59", "2020-01-02 10:00"]})
    with pytest.raises(Unreadable, match=r"time_format: '2020-01-02 10:00' of when is not written as %d\.%m\.%Y"):
        Shape(seconds="when", time_format="%d.%m.%Y %H:%M").before(other, "time")


def test_rows_that_lack_what_they_need_are_left_out() -> None:
    table = pl.DataFrame({"who": ["a", None, "c"], "what": [None, "x", "y"]})
    assert Shape(filled=("who",)).before(table, "time")["who"].to_list() == ["a", "c"]
    with pytest.raises(Unreadable, match="the table has no column 'whom'"):
        Shape(filled=("whom",)).before(table, "time")
