"""Pruning never removes what the ledger or a rollback needs, whatever it races with, and finishes what was killed."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.core.storage import FolderStore
from tasks.releases import copies, pruning
from tasks.releases.ledger import Superseded
from tasks.releases.pins import pin
from tasks.releases.pruning import prune, what_goes
from tasks.releases.standing import Pruned
from tasks.releases.verification import verify
from tests.tamper import modes, put

DAY = timedelta(days=1)


@pytest.fixture
def five(releases: Any) -> Any:
    for text in ("one", "two", "three", "four", "five"):
        releases.promote(text)
    return releases


def kept(folder: Path) -> set[str]:
    return {path.read_text() for path in (folder / "sales" / "files").rglob("model.onnx")}


def orphan(releases: Any, folder: Path, name: str, age: timedelta) -> Path:
    path = folder / "sales" / "files" / name / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_text(name)
    when = (datetime.now(UTC) - age).timestamp()
    os.utime(path, (when, when))
    return path


def test_the_newest_and_what_a_rollback_goes_back_to_stay(five: Any, folder: Path) -> None:
    found = prune(five, 1)
    assert (found.releases, found.kept, found.files) == ((1, 2, 3), (4, 5), 9)
    assert kept(folder) == {"four", "five"}
    entry = five.champion()
    assert (entry.seq, entry.kind, entry.release, entry.pruned) == (6, "prune", 5, (1, 2, 3))
    assert five.rollback(None, "bad").release == 4
    assert verify(five).pruned == 3


def test_a_dry_run_removes_and_writes_nothing(five: Any, folder: Path) -> None:
    assert what_goes(five, 2).releases == (1, 2, 3)
    assert len(kept(folder)) == 5 and len(five.ledger.entries()) == 5


def test_an_old_champion_and_the_one_before_it_stay(five: Any, folder: Path) -> None:
    five.rollback(2, "all newer ones are bad")
    pin(five, "until they are mended")
    assert prune(five, 1).kept == (1, 2, 5)
    assert kept(folder) == {"one", "two", "five"}
    assert prune(five, 1).releases == () and len(five.ledger.entries()) == 8


def test_what_is_pruned_cannot_be_used_and_says_so(five: Any) -> None:
    first = five.ledger.get(1)
    prune(five, 2)
    said = r"sales: the files of release 1 were removed by ledger entry 6 \(keep 2\)"
    uses: list[Callable[[], object]] = [
        lambda: five.rollback(1, "x"),
        lambda: five.release(1),
        lambda: five.read(first, "model.onnx"),
        lambda: five.champion_file(1, "model.onnx"),
        lambda: five.verify(first),
    ]
    for use in uses:
        with pytest.raises(Pruned, match=said) as caught:
            use()
        assert caught.value.exit_code == 64


@pytest.mark.parametrize("keep", [0, -1])
def test_at_least_one_release_stays(five: Any, folder: Path, keep: int) -> None:
    for use in (what_goes, prune):
        with pytest.raises(UsageError, match="at least one release must stay"):
            use(five, keep)
    assert len(kept(folder)) == 5


def test_without_a_release_there_is_nothing_to_prune(releases: Any) -> None:
    with pytest.raises(UsageError, match="sales: no release yet, nothing to prune"):
        prune(releases, 1)


def test_more_than_there_are_may_be_kept(five: Any) -> None:
    assert prune(five, 100).files == 0
    assert len(five.ledger.entries()) == 5


def test_files_that_a_kept_release_shares_stay(releases: Any, folder: Path) -> None:
    for text in ("same", "other", "same", "last"):
        releases.promote(text, run_id=f"run-{text}")
    assert releases.release(1).files == releases.release(3).files
    found = prune(releases, 2)
    assert found.releases == (2,) and kept(folder) == {"same", "last"}
    assert releases.read(releases.release(1), "model.onnx") == b"same"
    assert verify(releases).releases == 3


def test_files_that_are_released_again_after_they_were_pruned_stay(five: Any, folder: Path) -> None:
    prune(five, 2)
    assert five.promote("one").release == 7
    prune(five, 1)
    assert kept(folder) == {"one", "five"}
    verify(five)


def test_orphans_go_after_a_day(five: Any, folder: Path) -> None:
    old, new = orphan(five, folder, "old", 2 * DAY), orphan(five, folder, "new", 0.5 * DAY)
    found = prune(five, 10)
    assert found.orphans == ("sales/files/old",) and found.releases == ()
    assert not old.exists() and new.exists()
    assert (five.champion().kind, five.champion().pruned) == ("prune", ())
    verify(five)


def test_an_orphan_with_one_new_file_stays(five: Any, folder: Path) -> None:
    path = orphan(five, folder, "old", 2 * DAY)
    (path.parent / "manifest.json").write_text("{}")  # its promotion is being tried again
    assert prune(five, 10).orphans == ()


def test_other_workloads_and_other_folders_are_left_alone(five: Any, folder: Path) -> None:
    other = type(five)(FolderStore(folder), "sales-eu")
    for text in ("a", "b", "c"):
        other.promote(text)
    prune(five, 1)
    assert verify(other).releases == 3


def test_copies_of_what_goes_go_with_it(five: Any, folder: Path) -> None:
    for number in (1, 2, 5):
        copies.make(five, five.release(number))
        put(folder / copies.folder(five.release(number).files) / "registered_model_meta", "noted by a reader")
    assert modes(folder / copies.folder(five.release(1).files))["."] == "0o755"
    prune(five, 4)
    left = {path.read_text() for path in (folder / "sales" / copies.PLACE).rglob("model.onnx")}
    assert left == {"two", "five"}
    found = prune(five, 1)
    assert found.releases == (2, 3) and found.files == 2 * 3 + 4
    left = {path.read_text() for path in (folder / "sales" / copies.PLACE).rglob("*") if path.is_file()}
    assert left == {"five", "{}", "noted by a reader", five.read(five.release(5), "manifest.json").decode()}


@pytest.mark.parametrize("kill_at", [0, 1, 5])
def test_a_killed_prune_is_finished_by_the_next(
    five: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    done: list[str] = []
    remove = FolderStore.delete

    def dying(self: FolderStore, key: str) -> None:
        if len(done) >= kill_at:
            raise KeyboardInterrupt
        done.append(key)
        remove(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "delete", dying)
        patch.setattr(pruning, "WRITERS", 1)
        with pytest.raises(KeyboardInterrupt):
            prune(five, 1)
    assert five.champion().pruned == (1, 2, 3)
    verify(five)  # gone on purpose, or about to be
    with pytest.raises(Pruned):
        five.rollback(3, "its files may go at any moment")
    assert prune(five, 5).files == 9 - kill_at
    assert kept(folder) == {"four", "five"} and len(five.ledger.entries()) == 6


def test_a_promotion_that_is_faster_leaves_everything_where_it_is(
    five: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = FolderStore.modified

    def meanwhile(self: FolderStore, prefix: str) -> dict[str, datetime]:
        monkeypatch.setattr(FolderStore, "modified", listed)
        five.rollback(1, "a rollback to what is about to go")
        return listed(self, prefix)

    monkeypatch.setattr(FolderStore, "modified", meanwhile)
    with pytest.raises(Superseded):
        prune(five, 1)
    assert len(kept(folder)) == 5 and five.champion().release == 1
    verify(five)


def test_a_rollback_that_is_slower_than_a_prune_fails_at_the_fence(five: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check = five.verify

    def meanwhile(entry: Any) -> None:
        check(entry)
        prune(five, 1)

    monkeypatch.setattr(five, "verify", meanwhile)
    with pytest.raises(Superseded):
        five.rollback(1, "bad")
    assert five.champion().release == 5


def test_only_what_the_ledger_says_goes_even_if_a_night_follows_at_once(
    five: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat = five.ledger.repeat

    def followed(*args: Any, **options: Any) -> Any:
        entry = repeat(*args, **options)
        five.promote("six")
        return entry

    monkeypatch.setattr(five.ledger, "repeat", followed)
    assert prune(five, 2).releases == (1, 2, 3)
    assert kept(folder) == {"four", "five", "six"}
    verify(five)
