"""One file out of a wheel that real pip fetches from a folder; digests, replay, and what is refused."""

import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256 as sha256_of
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, IntegrityError, UnavailableError
from tasks.tables.sources import get_source
from tasks.tables.sources.base import Snapshot
from tasks.tables.sources.index import find_source_archive
from tasks.tables.table import Column, TableContract
from tests.wheels import keep_wheel, make_wheel, serve_wheels

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
PYTHON = str(Path(sys.base_prefix, "bin", "python3"))
"""The one of the environment has no pip."""
BROKEN = "raise SystemExit('imported')"


def year() -> str:
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    return "\n".join(["day;shop;sold", *(f"{day};007;{day.toordinal()},5" for day in days)])


def members() -> dict[str, str | bytes]:
    return {"shopdata/__init__.py": BROKEN, "shopdata/data/daily.csv": year()}


@pytest.fixture
def sha256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of a wheel that pip finds."""
    serve_wheels(tmp_path, monkeypatch)
    return make_wheel(tmp_path, members())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of a wheel that was fetched before."""
    return keep_wheel(tmp_path, monkeypatch, members())


def fetch(as_of: date, sha256: str, **options: Any) -> Snapshot:
    asked = {"name": "shopdata", "version": "1.0", "sha256": sha256, "member": "shopdata/data/daily.csv"}
    form = {"columns": {"date": "day", "store_id": "shop", "units": "sold"}, "separator": ";", "decimal": ","}
    return get_source(Spec(kind="package", **{**asked, **form, **options}), (CONTRACT,), "any").fetch(as_of)


def test_a_set_of_the_past_is_replayed_by_whole_weeks(kept: str) -> None:
    as_of = date(2026, 6, 30)
    snapshot = fetch(as_of, kept, replay=True)
    rows = snapshot.tables["table"]
    assert snapshot.shift_weeks
    today = as_of - timedelta(weeks=snapshot.shift_weeks)
    assert snapshot.notes == (f"shopdata/data/daily.csv of shopdata 1.0; replayed: 2026-06-30 shows the set's {today}",)
    assert FIRST + timedelta(days=170) < today <= LAST - timedelta(days=7)
    assert rows["date"].max() == as_of + timedelta(days=7)
    known = rows.filter(pl.col("date") <= as_of)
    assert known.filter(pl.col("date") == as_of)["units"].to_list() == [today.toordinal() + 0.5]
    assert rows.filter(pl.col("date") > as_of)["units"].null_count() == 7


def test_each_night_of_a_replay_brings_one_more_day_until_it_starts_again(kept: str) -> None:
    nights = [fetch(date(2026, 1, 1) + timedelta(days=day), kept, replay=True) for day in range(0, 365, 7)]
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
    with pytest.raises(ConfigError, match=r"^source\.version: the index has no such file of shopdata 1\.0: "):
        fetch(LAST, sha256)


def source_archive(folder: Path) -> str:
    """Write a source archive whose code must not run, and return its digest."""
    path = folder / "shopdata-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {"setup.py": BROKEN, "PKG-INFO": BROKEN, "shopdata/data/daily.csv": year()}.items():
            info = tarfile.TarInfo(f"shopdata-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, BytesIO(text.encode()))
    return sha256_of(path.read_bytes()).hexdigest()


def test_a_source_archive_is_taken_as_it_is_and_its_code_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_wheels(tmp_path, monkeypatch)
    digest = source_archive(tmp_path)
    rows = fetch(LAST, digest, member="shopdata-1.0/shopdata/data/daily.csv").tables["table"]
    assert rows.height == 365
    assert [path.name for path in (tmp_path / "home" / "packages").iterdir()] == [f"{digest}.tar.gz"]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A package index on this machine, and the passwords that it was given."""
    given: list[str] = []

    class Index(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(self.headers.get("Authorization", ""))
            if self.path.endswith("cut.tar.gz"):
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"short")
            else:
                super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", given
        server.shutdown()


def test_a_source_archive_comes_from_the_index_that_pip_is_set_up_for(
    tmp_path: Path, index: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, given = index
    files, page = tmp_path / "files", tmp_path / "simple" / "shop-data" / "index.html"
    files.mkdir()
    page.parent.mkdir(parents=True)
    digest = source_archive(files)
    page.write_text(f'<a href="../../files/shopdata-1.0.tar.gz#sha256={digest}">shopdata-1.0.tar.gz</a>')
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@{address}/simple")
    for option in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(option, "")
    ending, content = find_source_archive("Shop_Data", digest, PYTHON) or ("", b"")
    assert ending == ".tar.gz" and content == (files / "shopdata-1.0.tar.gz").read_bytes()
    assert given == ["Basic bWU6c2VjcmV0"] * 2
    assert find_source_archive("Shop_Data", "0" * 64, PYTHON) is None
    assert find_source_archive("other", digest, PYTHON) is None, "the index has no such page"
    (files / "shopdata-1.0.tar.gz").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=r"^source\.sha256: shopdata-1\.0\.tar\.gz has another digest"):
        find_source_archive("Shop_Data", digest, PYTHON)


def test_an_archive_that_is_cut_on_its_way_is_asked_for_again_later(
    tmp_path: Path, index: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, given = index
    page = tmp_path / "simple" / "shopdata" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="http://{address}/files/cut.tar.gz#sha256={"0" * 64}">shopdata-1.0.tar.gz</a>')
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@{address}/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(UnavailableError, match=r"only 5 of 1,000 bytes came"):
        find_source_archive("shopdata", "0" * 64, PYTHON)
    assert given == ["Basic bWU6c2VjcmV0"] * 2, "an address of its own host is told the password too"


def test_an_index_that_does_not_answer_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(
        UnavailableError, match=r"^the package index does not answer for http://127\.0\.0\.1:9/"
    ) as told:
        find_source_archive("shopdata", "0" * 64, PYTHON)
    assert "secret" not in str(told.value)


def test_another_digest_than_the_index_has_is_refused(sha256: str) -> None:
    with pytest.raises(IntegrityError, match=r"^source\.sha256: the index has shopdata 1\.0 with another digest"):
        fetch(LAST, "0" * 64)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"member": "shopdata/data/none.csv"}, r"^source\.member: .* it has: shopdata/data/daily\.csv$"),
        ({"member": "shopdata/__init__.py"}, r"^source\.member: expected a file that ends in \.parquet, \.csv"),
        ({"version": "1.0 --index-url=x"}, r"^source\.version: "),
        ({"version": "9.9"}, r"^source\.version: the index has no such file of shopdata 9\.9: "),
        ({"name": "-r"}, r"^source\.name: "),
    ],
)
def test_what_is_not_there_is_refused_by_field(sha256: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as failure:
        fetch(LAST, sha256, **options)
    assert "\n" not in str(failure.value)


def test_a_set_that_is_too_short_is_not_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = keep_wheel(tmp_path, monkeypatch, {"shopdata/data/daily.csv": "\n".join(year().splitlines()[:12])})
    assert fetch(LAST, sha256, replay=True).unreadable == {
        "table": "source.replay: 2014-01-01 to 2014-01-11 is too short for a horizon of 7 steps"
    }


HOURS = TableContract(
    columns=(
        Column("date", "moment", key=True, known_ahead=True),
        Column("units", "number", nullable=True),
    ),
    date="date",
    target="units",
    entity=(),
    horizon=24,
    step="1h",
    zone="Europe/Berlin",
)


@pytest.mark.parametrize(
    "as_of",
    [
        date(2026, 1, 15),
        date(2026, 7, 15),
        date(2026, 3, 28),
        date(2026, 3, 29),
        date(2025, 10, 25),
        date(2025, 10, 26),
    ],
)
def test_moments_with_a_zone_are_replayed_up_to_the_last_hour_of_the_local_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_of: date
) -> None:
    """The set is of summer and winter as the nights are, not always of the same one: no hour is lost, or told ahead."""
    first, last = datetime(2013, 12, 31, 23, tzinfo=UTC), datetime(2014, 12, 31, 22, tzinfo=UTC)
    moments = pl.datetime_range(first, last, "1h", eager=True).dt.convert_time_zone("Europe/Berlin")
    lines = [f"{moment},{at}" for at, moment in enumerate(moments.dt.to_string("iso:strict"))]
    sha256 = keep_wheel(tmp_path, monkeypatch, {"shopdata/data/hours.csv": "\n".join(["date,units", *lines])})
    asked = {"name": "shopdata", "version": "1.0", "sha256": sha256, "member": "shopdata/data/hours.csv"}
    snapshot = get_source(Spec(kind="package", **asked, replay=True), (HOURS,), "any").fetch(as_of)
    assert not snapshot.unreadable
    rows = snapshot.tables["table"]
    hours: list[datetime] = rows["date"].to_list()
    known = rows.drop_nulls("units").height
    last = hours[known - 1]
    assert (last.date(), last.hour) == (as_of, 23)
    assert len(hours) == known + 24, "so many are known ahead"
    in_utc = [hour.astimezone(UTC) for hour in hours]
    assert in_utc == [in_utc[0] + timedelta(hours=at) for at in range(len(hours))]
    assert rows["units"].to_list() == [*range(known), *[None] * 24], "from the first of the set on, each once"


def test_months_are_not_replayed_by_weeks(kept: str) -> None:
    months = replace(CONTRACT, step="1mo", horizon=1)
    asked = {"name": "shopdata", "version": "1.0", "sha256": kept, "member": "shopdata/data/daily.csv"}
    form = {"columns": {"date": "day", "store_id": "shop", "units": "sold"}, "separator": ";", "decimal": ","}
    snapshot = get_source(Spec(kind="package", **asked, **form, replay=True), (months,), "any").fetch(LAST)
    said = "source.replay: whole weeks do not move a step of 1mo to another; leave replay out, or use steps up to 1w"
    assert snapshot.unreadable == {"table": said}


def test_events_of_recbole_get_their_day_from_seconds_and_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = int(datetime(2020, 1, 1, 22, tzinfo=UTC).timestamp())
    lines = ["user_id:token\titem_id:token\ttimestamp:float\tmillis:float\todd:float"]
    lines += [f"{number % 7}\t{number}\t{start + number * 43_200}\t{1000 * start}\tnan" for number in range(100)]
    digest = keep_wheel(tmp_path, monkeypatch, {"films/films.inter": "\n".join(lines)})
    columns = (Column("user", "string", key=True), Column("item", "string", key=True), Column("time", "date"))
    contract = TableContract((*columns, Column("clock", "number")), "time", None, ("user",), name="events")
    options = {
        "name": "shopdata", "version": "1.0", "sha256": digest, "member": "films/films.inter", "separator": "\t",
        "columns": {"user": "user_id:token", "item": "item_id:token", "clock": "timestamp:float"},
        "shape": {"seconds": "timestamp:float"}, "replay": True,
    }  # fmt: skip

    def rows(**changes: Any) -> Snapshot:
        return get_source(Spec(kind="package", **{**options, **changes}), (contract,), "any").fetch(date(2026, 3, 1))

    found = rows()
    table = found.tables["events"]
    assert found.shift_weeks is not None and table["time"].max() == date(2026, 3, 1)
    days = (table["clock"] / 86400).floor().cast(pl.Int32).cast(pl.Date)
    assert ((table["time"] - days) == timedelta(weeks=found.shift_weeks)).all()
    assert table["user"].dtype == pl.String and 40 < table.height < 100
    odd = rows(shape={"seconds": "user_id:token"}, replay=False).tables["events"]
    assert odd["time"].max() == date(1970, 1, 1)
    millis = rows(shape={"seconds": "millis:float"}).unreadable["events"]
    assert millis.startswith("source.shape.seconds: '1577916000000' of millis:float is no number of seconds since 1970")
    assert "'nan' of odd:float" in rows(shape={"seconds": "odd:float"}).unreadable["events"]
    unknown = rows(shape={"seconds": "when"}).unreadable["events"]
    assert unknown.startswith("source.shape: the table has no column 'when'")
