"""Verification: whatever is changed, removed, added or renumbered is named."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import IntegrityError, UsageError
from tasks.releases.pins import pin
from tasks.releases.pruning import prune
from tasks.releases.standing import Pruned
from tasks.releases.verification import verify
from tests.tamper import let_in, put


@pytest.fixture
def three(releases: Any) -> Any:
    for text in ("one", "two", "three"):
        releases.promote(text)
    return releases


def entry_path(folder: Path, seq: int) -> Path:
    return folder / "sales" / "ledger" / f"{seq:08d}.json"


def test_what_was_checked_is_counted(three: Any) -> None:
    pin(three, "sale")
    found = verify(three)
    assert (found.entries, found.releases, found.files, found.pruned) == (4, 3, 9, 0)
    assert found.bytes == sum(len(text) + len("{}") for text in ("one", "two", "three"))
    one = verify(three, 2)
    assert (one.entries, one.releases, one.files, one.bytes) == (4, 1, 3, 5)
    assert str(one) == "4 ledger entries, 1 releases, 3 files with 5 bytes: every digest holds"


def test_what_mlflow_notes_when_it_loads_a_model_is_no_tampering(three: Any, folder: Path) -> None:
    beside = folder / three.champion().files
    put(beside / "registered_model_meta", "model_name: nightstill-sales")
    assert verify(three).files == 9
    three.rollback(1, "bad")
    put(beside / "registered_model_meta2", "")
    with pytest.raises(IntegrityError, match="registered_model_meta2: was added to release 3"):
        verify(three)


def test_what_there_is_not_cannot_be_verified(releases: Any, three: Any) -> None:
    with pytest.raises(UsageError, match=r"sales: no release 4; there are: 1, 2, 3"):
        verify(three, 4)
    prune(three, 1)
    with pytest.raises(Pruned, match="release 1 were removed by ledger entry 4"):
        verify(three, 1)
    assert verify(three).pruned == 1


def test_every_flipped_byte_of_every_file_is_found(three: Any, folder: Path) -> None:
    for path in sorted((folder / "sales" / "files").rglob("*")) + [entry_path(folder, seq) for seq in (1, 2, 3)]:
        if path.is_file():
            whole = path.read_bytes()
            for place in (0, len(whole) // 2, len(whole) - 1):
                changed = bytearray(whole)
                changed[place] ^= 1
                put(path, bytes(changed))
                with pytest.raises(IntegrityError, match=path.name) as caught:
                    verify(three)
                assert caught.value.exit_code == 76
            put(path, whole)
    assert verify(three).files == 9


def test_the_first_of_several_faults_is_named(three: Any, folder: Path) -> None:
    for number in (3, 2):
        put(folder / three.release(number).files / "model.onnx", "")
    with pytest.raises(IntegrityError, match=str(three.release(2).files)):
        verify(three)
    verify(three, 1)


def test_an_added_file_is_found(three: Any, folder: Path) -> None:
    entry = three.release(2)
    added = folder / entry.files / "sub" / "weights.pkl"
    let_in(added.parent)
    added.parent.mkdir()
    added.write_text("x")
    for use in (lambda: verify(three), lambda: verify(three, 2), lambda: three.rollback(2, "x")):
        with pytest.raises(IntegrityError, match=r"sub/weights.pkl: was added to release 2"):
            use()
    verify(three, 1)


def test_a_release_whose_folder_is_gone_is_found(three: Any, folder: Path) -> None:
    gone = folder / three.release(1).files
    let_in(gone / "model.onnx")
    shutil.rmtree(gone)
    with pytest.raises(IntegrityError, match=r"manifest.json: missing from release 1"):
        verify(three)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_a_removed_entry_is_found_the_last_one_too(three: Any, folder: Path, seq: int) -> None:
    entry_path(folder, seq).unlink()
    for use in (lambda: verify(three), three.champion, lambda: three.promote("four")):
        with pytest.raises(IntegrityError, match=f"{seq:08d}.json: this ledger entry is missing"):
            use()


@pytest.mark.parametrize(("seq", "to"), [(3, 4), (2, 4), (1, 2)])
def test_a_renumbered_entry_is_found(three: Any, folder: Path, seq: int, to: int) -> None:
    entry_path(folder, seq).replace(entry_path(folder, to))
    with pytest.raises(IntegrityError, match=r"0000000[1-4].json"):
        verify(three)


def test_an_entry_that_names_a_release_otherwise_than_it_was_made_is_found(three: Any) -> None:
    one, three_ = three.release(1), three.champion()
    forged = one.model_copy(update={"manifest_sha256": three_.manifest_sha256, "files": three_.files})
    three.ledger.repeat(forged, expected=3, kind="rollback", reason="forged")
    with pytest.raises(IntegrityError, match=r"ledger entry 4 \(rollback\) does not name release 1 as it was made"):
        verify(three)


def test_a_pin_of_another_release_than_the_champion_is_found(three: Any) -> None:
    three.ledger.repeat(three.release(1), expected=3, kind="pin", reason="forged")
    with pytest.raises(IntegrityError, match=r"ledger entry 4 \(pin\) does not name release 1"):
        verify(three)


def test_a_head_that_lags_is_no_fault_and_one_that_is_no_number_is(three: Any, folder: Path) -> None:
    head = folder / "sales" / "head"
    head.write_text("1")
    verify(three)
    assert three.promote("four").seq == 4 and head.read_text() == "4"
    head.write_text("four")
    with pytest.raises(IntegrityError, match="head: not a ledger entry's number; delete it"):
        verify(three)
    head.unlink()
    verify(three)
