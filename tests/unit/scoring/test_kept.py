"""Kept forecasts: what was said of a day is never said to have been something else."""

import hashlib
import json
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigError, UnavailableError
from tasks.core.storage import PROBE, FolderStore, ObjectExists, ObjectStore
from tasks.scoring.kept import Kept, Made, keep

MADE = Made(
    workload="sales",
    as_of=date(2026, 6, 30),
    release=7,
    manifest_sha256="a" * 64,
    model_sha256="b" * 64,
    tables={"table": "c" * 64},
    run_id="r",
)
FOLDER = "sales/2026-06-30"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def kept(store: ObjectStore, content: bytes, **other: Any) -> Kept:
    return keep(store, content, 12, MADE.model_copy(update=other))


def names(store: ObjectStore) -> list[str]:
    return [key for key in store.keys("") if key != PROBE]


def test_a_manifest_says_what_made_the_forecasts(store: FolderStore) -> None:
    assert kept(store, b"forecasts") == Kept(f"{FOLDER}/7.json", again=False)
    assert store.read(f"{FOLDER}/7.parquet") == b"forecasts"
    told = json.loads(store.read(f"{FOLDER}/7.json"))
    assert told.pop("created").endswith("+00:00")
    assert told == {
        **MADE.model_dump(mode="json"),
        "sha256": hashlib.sha256(b"forecasts").hexdigest(),
        "rows": 12,
    }


def test_the_same_forecasts_are_not_kept_twice(store: FolderStore) -> None:
    kept(store, b"forecasts")
    before = store.read(f"{FOLDER}/7.json")
    assert kept(store, b"forecasts", run_id="another") == Kept(f"{FOLDER}/7.json", again=True)
    assert names(store) == [f"{FOLDER}/7.json", f"{FOLDER}/7.parquet"]
    assert store.read(f"{FOLDER}/7.json") == before


def test_others_of_one_day_and_release_get_a_file_of_their_own(store: FolderStore) -> None:
    kept(store, b"first")
    assert kept(store, b"corrected").key == f"{FOLDER}/7-2.json"
    assert kept(store, b"corrected").again
    # The highest number holds, also when the data are as they were at first.
    assert kept(store, b"first") == Kept(f"{FOLDER}/7-3.json", again=False)
    contents = [store.read(f"{FOLDER}/{name}.parquet") for name in ("7", "7-2", "7-3")]
    assert contents == [b"first", b"corrected", b"first"]


def test_days_and_releases_do_not_meet(store: FolderStore) -> None:
    for place in ({}, {"release": 8}, {"as_of": date(2026, 7, 1)}, {"workload": "returns"}):
        assert not kept(store, b"forecasts", **place).again
    assert len(names(store)) == 8


def test_what_a_killed_attempt_left_is_completed(store: FolderStore) -> None:
    store.create(f"{FOLDER}/7.parquet", b"forecasts")
    assert kept(store, b"forecasts") == Kept(f"{FOLDER}/7.json", again=False)
    store.create(f"{FOLDER}/8.parquet", b"forecasts of other data")
    assert kept(store, b"forecasts", release=8).key == f"{FOLDER}/8-2.json"
    assert not store.exists(f"{FOLDER}/8.json")


def test_of_two_at_once_none_replaces_the_others(store: FolderStore) -> None:
    found: list[Kept] = []
    threads = [
        threading.Thread(target=lambda content: found.append(kept(store, content)), args=(content,))
        for content in (b"one", b"other", b"one", b"other")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for one in found:
        told = json.loads(store.read(one.key))
        content = store.read(one.key.replace(".json", ".parquet"))
        assert told["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_store_that_would_replace_what_is_kept_is_refused(tmp_path: Path) -> None:
    class Careless(FolderStore):
        def create(self, key: str, data: bytes) -> None:
            self.write(key, data)

    store = Careless(tmp_path)
    with pytest.raises(ConfigError, match="nor forecasts kept, there; use another"):
        kept(store, b"forecasts")
    assert names(store) == []


def test_a_write_that_another_one_holds_up_is_tried_again(tmp_path: Path) -> None:
    class Busy(FolderStore):
        """S3 answers 409 as long as another write of the same object is under way."""

        def create(self, key: str, data: bytes) -> None:
            if key.endswith(".parquet"):
                raise ObjectExists(key)
            super().create(key, data)

    with pytest.raises(UnavailableError, match="is being written by another process; try again"):
        kept(Busy(tmp_path), b"forecasts")
