"""Hours, with their zone, and months over HTTP: what `nightstill score` says, in ISO text."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from serving.service.app import make_app
from tasks.releases.store import ReleaseStore
from tasks.scoring.scorer import Scorer
from tests.serving_releases import promote_tables
from tests.unit.serving.test_tables import ARROW, CSV, JSON, PARQUET, content, plain, post, read, ready, settings

OPTIONS: dict[str, Any] = {"kind": "forecasting", "static": [], "price": None, "promotions": [], "origin_step": 2}
HOURLY = {**OPTIONS, "frequency": "1h", "horizon": 4, "context": 48, "season": 24}
MONTHLY = {**OPTIONS, "frequency": "1mo", "horizon": 2, "context": 24, "season": 12, "min_history": 12}
CHANGE, MIDDLE = date(2026, 10, 24), date(2026, 6, 17)


def hours() -> pl.DataFrame:
    """The days up to 24 October in the time of Berlin; on the next one, two o'clock comes twice."""
    moments = pl.datetime_range(
        datetime(2026, 10, 1), datetime(2026, 10, 24, 23), "1h", eager=True, time_zone="Europe/Berlin"  # noqa: DTZ001
    )  # fmt: skip
    return pl.DataFrame({"date": moments, "series_id": "a", "units": np.arange(1.0, len(moments) + 1)})


def months() -> pl.DataFrame:
    """First days of months up to May 2026."""
    begun = pl.date_range(date(2018, 1, 1), date(2026, 5, 1), "1mo", eager=True)
    return pl.DataFrame({"date": begun, "series_id": "a", "units": np.arange(1.0, len(begun) + 1)})


@contextmanager
def service(folder: Path, cache: Path) -> Iterator[TestClient]:
    with TestClient(make_app(settings(folder, cache)), raise_server_exceptions=False) as client:
        ready(client)
        yield client


@pytest.fixture
def load(releases: ReleaseStore, folder: Path, cache: Path) -> Iterator[tuple[TestClient, pl.DataFrame]]:
    """A service that forecasts hours, and what scoring says."""
    promote_tables(releases, HOURLY, hours(), CHANGE, timezone="Europe/Berlin")
    expected = Scorer(releases, "sales").score({"series": hours()}, CHANGE)
    with service(folder, cache) as client:
        yield client, expected


@pytest.mark.parametrize("form", [JSON, CSV, PARQUET, ARROW])
def test_hours_of_a_clock_change(load: tuple[TestClient, pl.DataFrame], form: str) -> None:
    client, expected = load
    rows = hours().with_columns(pl.col("date").dt.convert_time_zone("UTC"))
    table = rows.with_columns(pl.col("date").dt.to_string("iso:strict")) if form in (JSON, CSV) else rows
    body = content(table, form).replace(b'"2026-05-31"', b'"2026-10-24"')
    answer = post(client, body, form, "" if form == JSON else f"?as_of={CHANGE}")
    assert answer.status_code == 200, answer.text
    found = read(answer.content, form)
    assert found["p50"].cast(pl.Float32).to_list() == expected["p50"].to_list()
    if form == JSON:
        assert found["date"].to_list() == [
            "2026-10-25T00:00:00+02:00",
            "2026-10-25T01:00:00+02:00",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
        ]
    if form == CSV:
        assert "2026-10-25T02:00:00+01:00" in answer.text


@pytest.mark.parametrize(
    ("spoil", "said", "column"),
    [
        ({"date": "2026-10-24T02:30:00Z"}, "is no step of problem.frequency 1h", ""),
        ({"date": "2026-10-24T00:00:00Z"}, "unique date, series_id: broken by 2 rows", "date+series_id"),
        ({"date": "2026-10-24T02:00:00"}, "date: '2026-10-24T02:00:00' in row 570 is not a moment", "date"),
        ({"date": "noon"}, "date: 'noon' in row 570 is not a moment as YYYY-MM-DDTHH:MM", "date"),
    ],
)
def test_bad_hours_are_refused(
    load: tuple[TestClient, pl.DataFrame], spoil: dict[str, str], said: str, column: str
) -> None:
    rows = hours().with_columns(pl.col("date").dt.convert_time_zone("UTC").dt.to_string("iso:strict")).to_dicts()
    rows[570] |= spoil
    answer = post(load[0], json.dumps({"as_of": str(CHANGE), "rows": rows}).encode())
    assert answer.status_code == 422 and said in answer.text
    assert not column or f'"{column}"' in answer.text


def test_months_in_the_middle_of_one(releases: ReleaseStore, folder: Path, cache: Path) -> None:
    promote_tables(releases, MONTHLY, months(), MIDDLE)
    expected = plain(Scorer(releases, "sales").score({"series": months()}, MIDDLE))
    rows = [{**row, "date": f"{row['date']:%Y-%m}"} for row in months().to_dicts()]
    with service(folder, cache) as client:
        answer = post(client, json.dumps({"as_of": str(MIDDLE), "rows": rows}).encode())
    assert answer.status_code == 200, answer.text
    found = pl.DataFrame(answer.json()["rows"])
    assert found["date"].to_list() == ["2026-06-01", "2026-07-01"] == expected["date"].to_list()
    assert found["p50"].cast(pl.Float32).to_list() == expected["p50"].to_list()
