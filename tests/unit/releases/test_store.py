"""Releases: published once, verified whenever read, rolled back by a new entry."""

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import IntegrityError, UsageError
from tasks.core.storage import FolderStore
from tasks.releases.ledger import Superseded
from tasks.releases.verification import verify
from tests.tamper import flip, modes, put, remove


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "sales" / "files").rglob("*") if path.is_file())


def test_first_and_second_release(releases: Any) -> None:
    assert releases.champion() is None
    first = releases.promote("one")
    assert (first.seq, first.release, first.kind, first.run_id) == (1, 1, "promote", "run-one")
    assert first.files == f"sales/files/{first.manifest_sha256[:16]}"
    second = releases.promote("two")
    assert releases.champion() == second
    assert releases.champion_file(1, "model.onnx") == b"one"
    assert releases.champion_file(2, "model.onnx") == b"two"
    assert releases.read(second, "contract.json") == b"{}"
    assert b'"model.onnx"' in releases.read(second, "manifest.json")
    verify(releases)


def test_files_of_a_release_are_read_only_for_everybody(releases: Any, folder: Path) -> None:
    """Tests may run as root, whom no right binds: so the rights themselves are looked at."""
    before = os.umask(0o022)
    try:
        entry = releases.promote("one")
        read_only = {".": "0o555", **dict.fromkeys(["contract.json", "manifest.json", "model.onnx"], "0o444")}
        assert modes(folder / entry.files) == read_only
        # The store itself gets in: to write a part again that was damaged, to sign, to prune.
        flip(folder / entry.files / "model.onnx")
        again = releases.promote("one", run_id="again")
        assert again.files == entry.files and modes(folder / entry.files) == read_only
        verify(releases)
        os.umask(0o077)
        assert set(modes(folder / releases.promote("two").files).values()) == {"0o500", "0o400"}
    finally:
        os.umask(before)


def test_what_there_is_not(releases: Any) -> None:
    assert releases.champion_file(0, "model.onnx") is None
    with pytest.raises(IntegrityError, match="no ledger entry 1"):
        releases.champion_file(1, "model.onnx")
    with pytest.raises(UsageError, match="no release yet"):
        releases.release()
    entry = releases.promote("one")
    assert releases.champion_file(1, "snapshot.json") is None
    with pytest.raises(UsageError, match=r"release 1 has no file 'x'; it has: contract.json, model.onnx"):
        releases.read(entry, "x")


def test_a_stale_comparison_is_superseded(releases: Any, folder: Path) -> None:
    releases.promote("one")
    before = files_of(folder)
    with pytest.raises(Superseded):
        releases.promote("late", expected=0)
    assert files_of(folder) == before
    assert releases.champion_file(releases.champion().seq, "model.onnx") == b"one"


def test_a_retry_after_the_ledger_entry_returns_it(releases: Any) -> None:
    entry = releases.promote("one", expected=0)
    assert releases.promote("one", expected=0) == entry
    releases.promote("two")
    assert releases.promote("one", expected=0) == entry
    assert len(releases.ledger.entries()) == 2
    with pytest.raises(Superseded):
        releases.promote("one", expected=0, run_id="another-run-with-the-same-files")
    with pytest.raises(Superseded):
        releases.promote("changed", expected=0, run_id="run-one")


@pytest.mark.parametrize("kill_at", [0, 1, 2, 3])
def test_killed_before_the_ledger_entry_then_tried_again(
    releases: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    """Killed at each of its four writes: two files, the manifest, the ledger entry."""
    writes: list[str] = []

    def dying(method: Any) -> Any:
        def call(self: FolderStore, key: str, data: bytes) -> None:
            if len(writes) == kill_at:
                raise KeyboardInterrupt
            writes.append(key)
            method(self, key, data)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "write", dying(FolderStore.write))
        patch.setattr(FolderStore, "create", dying(FolderStore.create))
        with pytest.raises(KeyboardInterrupt):
            releases.promote("one")
    assert len(files_of(folder)) == kill_at if kill_at else True
    assert releases.champion() is None
    entry = releases.promote("one")
    assert releases.ledger.entries() == [entry]
    verify(releases)


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "manifest.json"])
def test_one_flipped_bit_is_found(releases: Any, folder: Path, name: str) -> None:
    entry = releases.promote("one")
    releases.promote("two")
    path = folder / entry.files / name
    flip(path)
    for use in (lambda: verify(releases), lambda: releases.verify(entry), lambda: releases.champion_file(1, name)):
        with pytest.raises(IntegrityError, match=name):
            use()
    with pytest.raises(IntegrityError, match=name):
        releases.rollback(1, "two is bad")
    assert releases.champion().release == 2


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "manifest.json"])
def test_a_removed_file_is_found(releases: Any, folder: Path, name: str) -> None:
    entry = releases.promote("one")
    remove(folder / entry.files / name)
    for use in (lambda: verify(releases), lambda: releases.champion_file(1, name)):
        with pytest.raises(IntegrityError, match=f"{name}: missing from release 1"):
            use()


def test_files_exchanged_together_with_their_manifest_are_found(releases: Any, folder: Path) -> None:
    one, two = releases.promote("one"), releases.promote("two")
    for name in ("model.onnx", "manifest.json"):
        put(folder / one.files / name, (folder / two.files / name).read_bytes())
    with pytest.raises(IntegrityError, match=r"manifest.json: not the manifest that ledger entry 1 names"):
        verify(releases)


def test_rollback_appends_an_entry_and_changes_no_file(releases: Any, folder: Path) -> None:
    one, two = releases.promote("one"), releases.promote("two")
    before = {path: path.read_bytes() for path in files_of(folder)}
    back = releases.rollback(1, "two is bad")
    assert (back.seq, back.kind, back.release, back.files, back.reason) == (3, "rollback", 1, one.files, "two is bad")
    assert releases.champion() == back
    assert releases.champion_file(3, "model.onnx") == b"one"
    assert {path: path.read_bytes() for path in files_of(folder)} == before
    forward = releases.rollback(2, "two was right")
    assert (forward.seq, forward.release, forward.model_sha256) == (4, 2, two.model_sha256)
    assert releases.promote("three").release == 5
    verify(releases)


@pytest.mark.parametrize(
    ("to", "message"),
    [(2, "release 2 is champion already"), (3, "no release 3"), (4, "no release 4"), (0, "no release 0")],
)
def test_rollback_to_what_is_no_earlier_release(releases: Any, to: int, message: str) -> None:
    releases.promote("one")
    releases.promote("two")
    releases.rollback(1, "bad")
    releases.rollback(2, "good after all")
    with pytest.raises(UsageError, match=message):
        releases.rollback(to, "why")


def test_workloads_do_not_meet(releases: Any, folder: Path) -> None:
    releases.promote("one")
    other = type(releases)(FolderStore(folder), "sales-eu")
    assert other.champion() is None
    assert other.promote("x").seq == 1
    assert releases.champion().seq == 1
