"""Releases in a real S3: the same guarantees as in a folder."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from tasks.core.errors import ConfigError, IntegrityError
from tasks.core.storage import ObjectExists, S3Store
from tasks.releases.ledger import Entry, Superseded
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify


@pytest.fixture
def store(bucket: str) -> S3Store:
    return S3Store(f"s3://{bucket}/{uuid.uuid4().hex}")


def publish(releases: ReleaseStore, name: str, expected: int) -> Entry:
    files = {"model.onnx": name.encode(), "card.md": b"# card"}
    return releases.publish(files, expected=expected, run_id=name, as_of=date(2026, 1, 1), reason="better")


def test_objects(store: S3Store) -> None:
    store.write("a/x", b"1")
    store.write("a/x", b"2")
    store.create("b", b"3")
    with pytest.raises(ObjectExists):
        store.create("b", b"4")
    assert (store.read("a/x"), store.read("b")) == (b"2", b"3")
    assert list(store.keys("")) == ["a/x", "b"] and list(store.keys("a/")) == ["a/x"]
    assert store.exists("b") and not store.exists("a")
    store.delete("b")
    with pytest.raises(KeyError):
        store.read("b")


def test_a_bucket_that_does_not_exist(store: S3Store) -> None:
    releases = ReleaseStore(S3Store(f"s3://{uuid.uuid4().hex}/x"), "sales")
    with pytest.raises(ConfigError, match="the bucket does not exist"):
        releases.champion()


def test_releases_and_a_rollback(store: S3Store) -> None:
    releases = ReleaseStore(store, "sales")
    assert releases.champion() is None
    first = publish(releases, "one", 0)
    assert publish(releases, "one", 0) == first
    publish(releases, "two", 1)
    with pytest.raises(Superseded):
        publish(releases, "late", 1)
    assert releases.rollback(1, "two is bad").seq == 3
    assert releases.champion_file(3, "model.onnx") == b"one"
    verify(releases)
    store.write(f"{first.files}/card.md", b"# cart")
    with pytest.raises(IntegrityError, match=r"s3://.*card.md"):
        verify(releases)
    store.delete(f"{first.files}/card.md")
    with pytest.raises(IntegrityError, match=r"card.md: missing"):
        verify(releases)


def test_of_racing_promoters_one_wins(store: S3Store) -> None:
    def attempt(number: int) -> Entry | None:
        try:
            return publish(ReleaseStore(store, "sales"), f"run-{number}", 0)
        except Superseded:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = [entry for entry in pool.map(attempt, range(16)) if entry]
    assert won == ReleaseStore(store, "sales").ledger.entries()
    assert len(won) == 1
