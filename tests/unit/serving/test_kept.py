"""Raw rows of requests are kept where a setting asks for it, and whatever the disk does, requests are answered."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from serving.service import kept
from serving.service.app import make_app
from serving.service.kept import AskedTable, KeptRequests
from tasks.releases.store import ReleaseStore
from tests.serving_releases import promote_tables
from tests.unit.problems.tabular.labelled import homes
from tests.unit.serving.test_recommend import CONTRACT, model
from tests.unit.serving.test_service import until, value
from tests.unit.serving.test_tables import AS_OF, HOMES, JSON, content, offers, post, ready, settings

DAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written at the end alone, however slow the machine."""
    monkeypatch.setattr(kept, "FLUSH_SECONDS", 3600.0)
    monkeypatch.setattr(kept, "END_SECONDS", 300.0)


@pytest.fixture
def serve(releases: ReleaseStore, folder: Path, cache: Path) -> Callable[..., Any]:
    """A function that serves homes with further settings."""
    promote_tables(releases, HOMES, homes.homes(), AS_OF, max_units=5000)

    @contextmanager
    def serving(**changes: Any) -> Iterator[TestClient]:
        with TestClient(make_app(settings(folder, cache, max_rows=100, **changes))) as client:
            ready(client)
            yield client

    return serving


def keeper(folder: Path, **changes: Any) -> KeptRequests:
    return KeptRequests(settings(folder, folder, keep_requests=folder, **changes))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("sales/*/*"))


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in files(folder)])


def ask(client: TestClient, rows: int = 3) -> int:
    return int(post(client, content(offers()[:rows], JSON)).status_code)


def test_rows_are_kept_with_what_was_asked_of_them(serve: Any, tmp_path: Path) -> None:
    with serve(keep_requests=tmp_path / "kept") as client:
        assert (ask(client, 3), ask(client, 2)) == (200, 200)
        assert post(client, b'{"as_of": "2026-05-31", "rows": [{"area": "large"}]}').status_code == 422
    (file,) = files(tmp_path / "kept")
    assert file.suffix == ".parquet" and (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    ), "what people asked is nobody else's"
    found = rows_of(tmp_path / "kept")
    assert found["_request"].to_list() == [0, 0, 0, 1, 1], "what was refused is not kept"
    assert found["area"].to_list() == [*offers()["area"][:3], *offers()["area"][:2]]
    assert set(found["_as_of"]) == {AS_OF} and set(found["_release"]) == {1}


def test_none_are_kept_unless_a_folder_is_named(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*.parquet"))
    with serve(keep_requests="") as client:
        assert ask(client) == 200
    assert sorted(tmp_path.rglob("*.parquet")) == before


def test_an_address_is_no_folder(folder: Path, cache: Path) -> None:
    with pytest.raises(ValidationError, match="a folder is needed"):
        settings(folder, cache, keep_requests="s3://bucket/asked")


def unwritable(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("no folder")
    return tmp_path / "file"


@pytest.mark.parametrize("place", [unwritable, lambda _: Path("/proc/none")])
def test_a_folder_that_takes_nothing_costs_no_answer(
    serve: Any, tmp_path: Path, place: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "FLUSH_BYTES", 1)
    with serve(keep_requests=place(tmp_path)) as client:
        assert ask(client) == 200
        until(lambda: value(client, "nightstill_requests_not_kept_total", reason="unwritable") == 1)
        assert ask(client) == 200
        until(lambda: value(client, "nightstill_requests_not_kept_total", reason="unwritable") == 2)
        assert value(client, "nightstill_requests_kept_total") == 0


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full here")
def test_of_a_disk_that_is_full_nothing_half_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = keeper(tmp_path)

    def on_a_full_disk(path: Path) -> BinaryIO:
        path.touch()
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(kept, "_created", on_a_full_disk)
    keeping.start()
    keeping.keep(AskedTable("rows", pl.DataFrame({"a": range(100_000)}), 1, None))
    keeping.stop()
    assert files(tmp_path) == [] and keeping.dropped.labels("unwritable")._value.get() == 1


def test_what_the_disk_does_not_take_in_time_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = keeper(tmp_path)  # nobody writes: it was not started
    table = pl.DataFrame({"a": range(1000)})
    monkeypatch.setattr(kept, "WAITING_BYTES", 2 * AskedTable("rows", table, 1, None).size)
    for _ in range(5):
        keeping.keep(AskedTable("rows", table, 1, None))
    assert keeping.dropped.labels("behind")._value.get() == 3
    keeping.start()
    keeping.stop()
    assert keeping.kept._value.get() == 2 and len(rows_of(tmp_path)) == 2000


def test_tables_of_another_form_are_files_of_their_own(tmp_path: Path) -> None:
    keeping = keeper(tmp_path)
    for table in (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["é"]}), pl.DataFrame({"a": [None]}), pl.DataFrame()):
        keeping.keep(AskedTable("rows", table, 1, None))
    keeping.start()
    keeping.stop()
    assert keeping.kept._value.get() == 4 and len(files(tmp_path)) == 4


def test_old_files_go_and_then_the_oldest_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    first = keeper(tmp_path, keep_days=2)
    for seconds in range(3):
        day = datetime.now(UTC) - timedelta(days=seconds)
        first.keep(AskedTable("rows", pl.DataFrame({"a": range(1000)}), 1, None, day))
    first.start()
    first.stop()  # and the day before yesterday is over
    kept_now = files(tmp_path)
    assert [path.parent.name for path in kept_now] == sorted([DAY, f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"])
    notes = kept_now[0].with_name("notes.txt")
    for path in (notes, tmp_path / "sales" / "2026-99-99" / "x"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    os.utime(kept_now[0], (0, 0))
    second = keeper(tmp_path, keep_bytes=kept_now[1].stat().st_size * 3 // 2)
    second.start()
    second.stop()
    assert not kept_now[0].exists() and kept_now[1].exists() and notes.exists(), "others' files are let be"


def test_histories_are_kept_as_texts(releases: ReleaseStore, folder: Path, cache: Path, tmp_path: Path) -> None:
    files_of = {"model.onnx": model(), "contract.json": json.dumps(CONTRACT).encode()}
    releases.publish(files_of, expected=0, run_id="r", as_of=AS_OF, reason="better")
    with TestClient(make_app(settings(folder, cache, keep_requests=tmp_path / "kept"))) as client:
        ready(client)
        assert client.post("/v1/recommend", json={"histories": [["a", "new"], []], "k": 1}).status_code == 200
    found = rows_of(tmp_path / "kept")
    assert found["history"].to_list() == [["a", "new"], []] and found["_as_of"].to_list() == [None, None]
