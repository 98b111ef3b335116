"""What was forged ends in one line, before any path is made of it."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import IntegrityError, UsageError
from tasks.core.storage import FolderStore
from tasks.releases import manifest
from tasks.releases.ledger import Entry, Ledger
from tasks.releases.store import ReleaseStore


def forged(folder: Path, **changes: Any) -> Ledger:
    facts = {
        "seq": 1,
        "kind": "promote",
        "release": 1,
        "files": "sales/files/abc",
        "model_sha256": "a" * 64,
        "manifest_sha256": "a" * 64,
        "run_id": "r",
        "as_of": date(2026, 1, 1),
        "reason": "",
        "created": "",
        "previous": "",
    }
    store = FolderStore(folder)
    store.write("sales/ledger/00000001.json", Entry(**(facts | changes)).sealed().to_bytes())
    return Ledger(store, "sales")


def test_a_sound_entry_is_read(tmp_path: Path) -> None:
    assert forged(tmp_path).last() is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest_sha256": "../../x"},
        {"model_sha256": "A" * 64},
        {"files": "sales/files/../x"},
        {"files": "other/files/abc"},
        {"files": "/etc"},
        {"run_id": "../x"},
    ],
    ids=str,
)
def test_a_forged_entry_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="not the entry that was written"):
        forged(tmp_path, **changes).last()


@pytest.mark.parametrize("name", ["sales/../sales", "sales/", "Sales", "", "-a"])
def test_a_workload_s_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="a workload's name"):
        ReleaseStore(FolderStore(tmp_path), name)


@pytest.mark.parametrize("stray", ["head", "ledger/99999999.json"])
def test_the_first_gap_ends_the_chain(tmp_path: Path, stray: str) -> None:
    ledger = forged(tmp_path)
    ledger.store.write(f"sales/{stray}", b"99999999")
    with pytest.raises(IntegrityError, match=r"00000002\.json: this ledger entry is missing"):
        ledger.last()
    ledger.store.write("sales/head", b"99999999999")
    with pytest.raises(IntegrityError, match="not a ledger entry's number"):
        ledger.last()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "", ".."])
def test_names_of_files_are_plain(name: str) -> None:
    with pytest.raises(IntegrityError, match="not a list of files"):
        manifest.parse(manifest.build({name: b""}))


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b"[]", b'{"files": []}', json.dumps({"files": {"a": {"sha256": "../x", "size": 1}}}).encode()],
)
def test_a_malformed_manifest_is_told(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a list of files"):
        manifest.parse(data)


@pytest.mark.parametrize("run_id", ["../x", "a b", "x" * 201, "a\0"])
def test_a_run_id_that_could_not_be_read_back_is_not_written(releases: Any, run_id: str) -> None:
    with pytest.raises(UsageError, match="cannot stand in a ledger"):
        releases.promote("a", run_id=run_id)
    assert releases.champion() is None
    assert releases.promote("a").seq == 1
