"""What was forged is refused before any path is made of it, or anything is read that would not end."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from serving.client.cache import Cache
from serving.client.errors import IntegrityError, SettingError
from serving.client.origin import Folder
from serving.client.release import Ledger, Release, digests, sha256
from serving.client.signature import TrustedKeys

DIGEST = "a" * 64
ENTRY: dict[str, Any] = {
    "seq": 1,
    "release": 1,
    "kind": "promote",
    "files": "sales/files/abc",
    "model_sha256": DIGEST,
    "manifest_sha256": DIGEST,
    "as_of": "2026-01-01",
    "reason": "",
    "run_id": "r",
    "created": "",
    "previous": "",
}


def sealed(**changes: Any) -> bytes:
    def text(data: dict[str, Any]) -> bytes:
        return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    content = ENTRY | changes
    return text(content | {"digest": hashlib.sha256(text(content)).hexdigest()})


def test_a_sound_entry_is_read() -> None:
    assert Release.parse(sealed(), 1, "here").number == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest_sha256": "../../x"},
        {"model_sha256": "A" * 64},
        {"files": "sales/files/../x"},
        {"files": "/etc"},
        {"files": "sales/files/a\0"},
        {"run_id": "../x"},
        {"as_of": "soon"},
        {"release": "1"},
        {"release": True},
    ],
    ids=str,
)
def test_a_forged_entry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="not the ledger entry that was written"):
        Release.parse(sealed(**changes), 1, "here")


def test_nested_lists_are_no_entry_and_no_manifest() -> None:
    with pytest.raises(IntegrityError):
        Release.parse(b"[" * 100_000, 1, "here")
    for data in (b"[" * 100_000, b"[]", b'{"files": []}', b'{"files": {"model.onnx": {"sha256": "../x"}}}'):
        with pytest.raises(ValueError, match="not a manifest"):
            digests(data)


def test_the_cache_removes_nothing_outside_of_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "cache" / "objects").mkdir(parents=True)
    assert Cache(tmp_path / "cache", "u", "sales").get("../../victim") is None
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("name", ["sales/../sales", "sales/", "Sales", "", "-a"])
def test_a_workload_s_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match="a workload's name"):
        Ledger(Folder(tmp_path), name)


@pytest.mark.parametrize("head", ["99999999999", "-1", "1_0", "99999999"])
def test_a_head_beyond_the_ledger_is_refused(tmp_path: Path, head: str) -> None:
    (tmp_path / "sales").mkdir()
    (tmp_path / "sales" / "head").write_text(head)
    with pytest.raises(IntegrityError):
        Ledger(Folder(tmp_path), "sales").last(None)


def test_only_regular_files_of_some_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    for key, said in (("pipe", "not a regular file"), ("huge", "at most"), ("a\0", "cannot be a file")):
        with pytest.raises(IntegrityError, match=said):
            Folder(tmp_path).read(key)
    with pytest.raises(Exception, match="loop"):
        Folder(tmp_path).read("loop")


def test_pipes_and_sparse_files_in_the_cache_and_for_keys_are_passed_by(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", "s3://b", "sales")
    (tmp_path / "cache" / "objects").mkdir(parents=True)
    (tmp_path / "cache" / "champions").mkdir()
    piped, sparse = sha256(b"piped"), sha256(b"sparse")
    os.mkfifo(tmp_path / "cache" / "objects" / piped)
    with (tmp_path / "cache" / "objects" / sparse).open("wb") as file:
        file.truncate(1 << 40)
    assert cache.get(piped) is None and cache.get(sparse) is None
    os.mkfifo(cache._champion)
    assert cache.champion() is None
    os.mkfifo(tmp_path / "keys.pem")
    with pytest.raises(SettingError, match=r"trusted keys cannot be read: .*not a regular file"):
        TrustedKeys.load(tmp_path / "keys.pem")
