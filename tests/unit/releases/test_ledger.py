"""The ledger refuses what was changed, and fences."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigError, IntegrityError, UnavailableError
from tasks.core.storage import FolderStore, ObjectExists
from tasks.releases.ledger import Entry, Ledger, Superseded
from tasks.releases.standing import withdrawn


def append(ledger: Ledger, expected: int, run_id: str = "r") -> Entry:
    return ledger.append(
        expected=expected,
        kind="promote",
        files="sales/files/abc",
        model_sha256=f"{expected + 1:064x}",
        manifest_sha256="b" * 64,
        run_id=run_id,
        as_of=date(2026, 1, 1),
        reason="better",
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(FolderStore(tmp_path), "sales")


def test_an_empty_ledger(ledger: Ledger) -> None:
    assert ledger.entries() == [] and ledger.last() is None and ledger.get(1) is None


def test_entries_follow_from_each_other(ledger: Ledger, tmp_path: Path) -> None:
    first, second = append(ledger, 0), append(ledger, 1)
    assert ledger.entries() == [first, second]
    assert ledger.last() == second
    assert (first.seq, first.release, first.previous) == (1, 1, "")
    assert (second.seq, second.release, second.previous) == (2, 2, first.sha256)
    assert first.created.endswith("+00:00")
    path = tmp_path / "sales" / "ledger" / "00000002.json"
    assert json.loads(path.read_text())["run_id"] == "r"


def test_a_taken_number_is_superseded(ledger: Ledger) -> None:
    append(ledger, 0, run_id="fast")
    with pytest.raises(Superseded, match=r"ledger entry 1 was written meanwhile \(by fast\)"):
        append(ledger, 0, run_id="slow")
    assert [entry.run_id for entry in ledger.entries()] == ["fast"]


def test_no_gap_can_be_made(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError, match=r"00000001.json: this ledger entry is missing"):
        append(ledger, 1)


@pytest.mark.parametrize("seq", [1, 2, 3])
@pytest.mark.parametrize("change", ["reason", "bytes", "garbage"])
def test_a_changed_entry_is_named(ledger: Ledger, tmp_path: Path, seq: int, change: str) -> None:
    for expected in range(3):
        append(ledger, expected)
    path = tmp_path / "sales" / "ledger" / f"{seq:08d}.json"
    text = path.read_text()
    changed = {"reason": text.replace("better", "bitter"), "bytes": text + " ", "garbage": "?"}
    path.write_text(changed[change])
    with pytest.raises(IntegrityError, match=f"{seq:08d}.json: not the entry that was written"):
        ledger.entries()


def test_an_entry_that_was_replaced_and_sealed_anew_breaks_the_chain(ledger: Ledger, tmp_path: Path) -> None:
    first = append(ledger, 0)
    append(ledger, 1)
    forged = first.model_copy(update={"reason": "forged"}).sealed()
    (tmp_path / "sales" / "ledger" / "00000001.json").write_bytes(forged.to_bytes())
    with pytest.raises(IntegrityError, match=r"00000002.json: does not follow from entry 1"):
        ledger.entries()


def test_a_removed_entry_is_named(ledger: Ledger, tmp_path: Path) -> None:
    for expected in range(3):
        append(ledger, expected)
    (tmp_path / "sales" / "ledger" / "00000002.json").unlink()
    for use in (ledger.entries, ledger.last):
        with pytest.raises(IntegrityError, match=r"00000002.json: this ledger entry is missing"):
            use()


def test_what_is_no_entry_is_ignored(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 0)
    (tmp_path / "sales" / "ledger" / ".DS_Store").write_text("")
    assert len(ledger.entries()) == 1


class Server(FolderStore):
    """A folder that passes for S3, with a fault."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self.uri = f"s3://{name}/x"


def test_a_server_without_conditional_writes_is_refused_before_the_first_entry(tmp_path: Path) -> None:
    class Careless(Server):
        def create(self, key: str, data: bytes) -> None:
            self.write(key, data)

    ledger = Ledger(Careless(tmp_path, "careless"), "sales")
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        append(ledger, 0)
    assert ledger.last() is None


def test_the_fence_is_checked_once(tmp_path: Path) -> None:
    created: list[str] = []

    class Watched(Server):
        def create(self, key: str, data: bytes) -> None:
            created.append(key.split("/", maxsplit=1)[0])
            super().create(key, data)

    for expected in range(2):
        append(Ledger(Watched(tmp_path, "watched"), "sales"), expected)
    assert created == ["probe", "probe", "sales", "sales"]


def test_a_write_whose_answer_was_lost_is_known_again(tmp_path: Path) -> None:
    class Forgetful(FolderStore):
        def create(self, key: str, data: bytes) -> None:
            super().create(key, data)
            super().create(key, data)  # the client sends it once more

    ledger = Ledger(Forgetful(tmp_path), "sales")
    assert append(ledger, 0) == ledger.last()


def test_a_conflict_without_an_entry_is_worth_a_retry(tmp_path: Path) -> None:
    class Busy(FolderStore):
        def create(self, key: str, data: bytes) -> None:
            raise ObjectExists(key)

    with pytest.raises(UnavailableError, match="try again"):
        append(Ledger(Busy(tmp_path), "sales"), 0)


def test_withdrawn_until_it_is_champion_again(ledger: Ledger) -> None:
    one, two = append(ledger, 0), append(ledger, 1)

    def back(to: Entry, expected: int) -> None:
        facts: Any = to.model_dump(include={"release", "files", "model_sha256", "manifest_sha256", "as_of"})
        ledger.append(expected=expected, kind="rollback", run_id="", reason="bad", **facts)

    assert withdrawn(ledger.entries()) == {}
    back(one, 2)
    assert {model: entry.seq for model, entry in withdrawn(ledger.entries()).items()} == {f"{2:064x}": 3}
    back(two, 3)
    assert {model: entry.seq for model, entry in withdrawn(ledger.entries()).items()} == {f"{1:064x}": 4}
    assert withdrawn([]) == {}
