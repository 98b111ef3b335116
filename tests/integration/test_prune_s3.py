"""Pruning, pins and verification in a real S3."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from tasks.core.errors import IntegrityError
from tasks.core.storage import S3Store
from tasks.releases.pins import pin
from tasks.releases.pruning import prune
from tasks.releases.standing import Pruned
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify


@pytest.fixture
def releases(bucket: str) -> ReleaseStore:
    found = ReleaseStore(S3Store(f"s3://{bucket}/{uuid.uuid4().hex}"), "sales")
    for number in range(4):
        files = {"model.onnx": f"model {number}".encode(), "card.md": b"#"}
        found.publish(files, expected=number, run_id=f"r{number}", as_of=date(2026, 1, 1), reason="better")
    return found


def test_old_releases_and_orphans_go_and_the_rest_holds(releases: ReleaseStore) -> None:
    store = releases.store
    store.write("sales/files/orphan/model.onnx", b"killed")
    assert pin(releases, "the sale").seq == 5
    assert prune(releases, 2).orphans == ()
    assert sorted({key.split("/")[2] for key in store.keys("sales/files/")}) == sorted(
        {"orphan", *(entry.files.split("/")[2] for entry in releases.ledger.entries()[2:4])}
    )
    found = prune(releases, 2, datetime.now(UTC) + timedelta(days=2))
    assert found.orphans == ("sales/files/orphan",) and not store.exists("sales/files/orphan/model.onnx")
    assert (verify(releases).releases, verify(releases).pruned) == (2, 2)
    with pytest.raises(Pruned):
        releases.release(1)


def test_a_removed_last_entry_and_an_added_file_are_found(releases: ReleaseStore) -> None:
    store, last = releases.store, releases.release()
    store.write(f"{last.files}/added.bin", b"x")
    with pytest.raises(IntegrityError, match=r"added\.bin: was added to release 4"):
        verify(releases)
    store.delete("sales/ledger/00000004.json")
    with pytest.raises(IntegrityError, match=r"00000004\.json: this ledger entry is missing"):
        releases.champion()
