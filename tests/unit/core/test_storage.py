"""The folder store's guarantees, and the check that refuses a server without create-only writes."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, NightstillError, UnavailableError, UsageError
from tasks.core.storage import PROBE, FolderStore, ObjectExists, open_store, require_conditional_writes
from tests.tamper import modes

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_write_then_read_replaces(store: FolderStore) -> None:
    store.write("a/b.txt", b"old")
    store.write("a/b.txt", b"new")
    assert store.read("a/b.txt") == b"new"
    assert store.exists("a/b.txt") and not store.exists("a")
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    with pytest.raises(KeyError):
        store.read("a/b.txt")


def test_a_write_that_dies_half_way_leaves_the_old_bytes(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("a.txt", b"old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write("a.txt", b"new")
    assert store.read("a.txt") == b"old"
    assert list(store.keys("")) == ["a.txt"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_no_part(store: FolderStore, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    store.write("a.txt", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(UnavailableError, match="cannot be written"):
        store.write("a.txt", b"new")
    assert store.read("a.txt") == b"old"
    assert [path.name for path in store.root.iterdir()] == ["a.txt"]


def test_create_refuses_a_taken_key_and_leaves_it_alone(store: FolderStore) -> None:
    store.create("x", b"first")
    with pytest.raises(ObjectExists):
        store.create("x", b"second")
    assert store.read("x") == b"first"
    assert [path.name for path in store.root.iterdir()] == ["x"]


def test_a_frozen_folder_can_be_changed_by_the_store_alone(store: FolderStore) -> None:
    store.write("a/b/c.txt", b"old")
    store.write("a/d.txt", b"old")
    store.freeze("a")
    assert not any(int(mode, 8) & 0o222 for mode in modes(store.root / "a").values())
    assert int(modes(store.root)["."], 8) & 0o200
    store.write("a/d.txt", b"new")
    store.create("a/e.txt", b"")
    store.delete("a/b/c.txt")
    assert list(store.keys("a/")) == ["a/d.txt", "a/e.txt"] and store.read("a/d.txt") == b"new"
    store.freeze("nothing")


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/hostname"])
@pytest.mark.parametrize(
    "use",
    [
        lambda store, key: store.read(key),
        lambda store, key: store.write(key, b""),
        lambda store, key: store.create(key, b""),
        lambda store, key: store.delete(key),
        lambda store, key: list(store.keys(key)),
        lambda store, key: store.freeze(key),
    ],
    ids=["read", "write", "create", "delete", "keys", "freeze"],
)
def test_a_key_cannot_leave_the_store(store: FolderStore, key: str, use: Callable[[FolderStore, str], object]) -> None:
    (store.root.parent / "out").write_bytes(b"secret")
    with pytest.raises(UsageError, match="leaves the store"):
        use(store, key)


def test_keys_are_sorted_and_match_the_prefix(store: FolderStore) -> None:
    for key in ("b/2", "b/10", "a/x/y", "ab", "c"):
        store.write(key, b"")
    assert list(store.keys("")) == ["a/x/y", "ab", "b/10", "b/2", "c"]
    assert list(store.keys("b/")) == ["b/10", "b/2"]
    assert list(store.keys("a")) == ["a/x/y", "ab"]
    assert list(store.keys("none/")) == []


def test_a_folder_fences(store: FolderStore) -> None:
    for _ in range(2):
        require_conditional_writes(store)
        assert list(store.keys("")) == [PROBE]


def test_a_store_that_ignores_conditional_writes_is_refused(tmp_path: Path) -> None:
    class Careless(FolderStore):
        def create(self, key: str, data: bytes) -> None:
            self.write(key, data)

    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        require_conditional_writes(Careless(tmp_path))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, ConfigError),
        (errno.ENOTSUP, ConfigError),
        (errno.EROFS, ConfigError),
        (errno.ENOSPC, UnavailableError),
        (errno.EIO, UnavailableError),
    ],
)
@pytest.mark.parametrize("call", ["link", "fsync"])
def test_a_disk_that_refuses_is_told_in_one_line(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[NightstillError], call: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refused)
    with pytest.raises(kind, match=rf"{store.root}.*\({os.strerror(number)}\)"):
        store.create("a/x", b"")
    assert not store.exists("a/x")


@pytest.mark.parametrize("use", ["write", "create"])
def test_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path, use: str) -> None:
    code = f"""
import resource
from pathlib import Path
from tasks.core.errors import UnavailableError
from tasks.core.storage import FolderStore
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    FolderStore(Path({str(tmp_path)!r})).{use}("a/x", bytes(5000))
except UnavailableError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/a/x: cannot be written (File too large)\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_write_that_is_ended_leaves_no_part_of_a_file(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def ended(*_: object) -> None:
        raise SystemExit(143)  # as SIGTERM does

    monkeypatch.setattr(os, call, ended)
    with pytest.raises(SystemExit):
        store.create("a/x", b"first")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_file_in_the_place_of_a_folder_is_a_wrong_setting(store: FolderStore) -> None:
    store.write("a", b"")
    with pytest.raises(ConfigError, match="a/x: cannot be written"):
        store.write("a/x", b"")


def test_only_folders_and_s3_are_stores(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).uri == str(tmp_path)
    with pytest.raises(ConfigError, match="a store is a folder or s3://"):
        open_store("gs://bucket/prefix")
