"""Items that rarely sell begin with their first sale."""

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from bench.intermittent import CALENDAR, FILE
from bench.sets import Origins, load
from tasks.core.errors import ConfigError


def test_an_item_begins_with_its_first_sale(tmp_path: Path) -> None:
    days = [datetime(2016, 1, 1) + timedelta(day) for day in range(240)]  # noqa: DTZ001
    (tmp_path / "m5").mkdir()
    wide = {f"{day:%Y-%m-%d}": [int(number % 9 == 4), int(number == 0)] for number, day in enumerate(days)}
    pl.DataFrame({"id": ["A_CA_3_evaluation", "B_CA_3_evaluation"], **wide}).write_parquet(tmp_path / FILE)
    later = [*days, days[-1] + timedelta(1)]
    events, snap = ["NewYear", *[None] * 240], [0, 1, *[0] * 239]
    pl.DataFrame({"date": later, "event_name_1": events, "snap_CA": snap}).write_parquet(tmp_path / CALENDAR)
    data = load("hobbies", tmp_path)
    assert data.series.tolist() == ["A_CA_3", "B_CA_3"] and data.starts.tolist() == [4, 0] and data.metric == "wql"
    assert data.values[:, :6].tolist() == [[0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0]]
    assert data.known["event"][0, :3].tolist() == [1, 0, 0] and data.known["snap"][0, :3].tolist() == [0, 1, 0]
    assert data.origins == Origins(train_end=71, valid=(71, 99, 127), test=(155, 183, 211))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set hobbies: .*hobbies2_ca3.*: no such file; NIGHTSTILL_BENCH_DATA"):
        load("hobbies", tmp_path)
