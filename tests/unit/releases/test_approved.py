"""The ledger keeps who approved a release; entries without an approval are what they were."""

import json
from datetime import date
from pathlib import Path

import pytest

from tasks.core.errors import IntegrityError
from tasks.core.storage import FolderStore
from tasks.releases.ledger import Entry
from tasks.releases.pins import pin
from tasks.releases.signing import generate, load_keys
from tasks.releases.standing import Held, pinned_by
from tasks.releases.store import ReleaseStore
from tasks.releases.verification import verify

APPROVED = ("anna", "better in every store")


def publish(
    releases: ReleaseStore, text: str, expected: int, approved: tuple[str, str] = ("", ""), over_pin: int = 0
) -> Entry:
    return releases.publish(
        {"model.onnx": text.encode()},
        expected=expected,
        run_id=text,
        as_of=date(2026, 1, 1),
        reason="better",
        approved=approved,
        over_pin=over_pin,
    )


@pytest.mark.parametrize("signed", [False, True])
def test_entries_with_and_without_an_approval_hold_side_by_side(signed: bool, tmp_path: Path) -> None:
    private, public, _ = generate(tmp_path / "keys")
    keys = load_keys(str(private), str(public)) if signed else load_keys()
    releases = ReleaseStore(FolderStore(tmp_path / "releases"), "sales", keys)
    before = publish(releases, "one", 0)
    approved = publish(releases, "two", 1, APPROVED)
    stored = [json.loads((tmp_path / f"releases/sales/ledger/0000000{seq}.json").read_bytes()) for seq in (1, 2)]
    assert not {"approved_by", "approved_why"} & {*stored[0]}, "an entry of before has the same bytes as ever"
    assert (stored[1]["approved_by"], stored[1]["approved_why"]) == APPROVED
    assert releases.ledger.entries() == [before, approved]
    verify(releases)


def test_an_approval_that_was_changed_is_noticed(tmp_path: Path) -> None:
    releases = ReleaseStore(FolderStore(tmp_path), "sales")
    publish(releases, "one", 0, APPROVED)
    path = tmp_path / "sales/ledger/00000001.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("anna", "bert"))
    with pytest.raises(IntegrityError, match="not the entry that was written"):
        releases.ledger.entries()


def test_only_the_pin_that_the_approver_knew_is_passed_over(tmp_path: Path) -> None:
    releases = ReleaseStore(FolderStore(tmp_path), "sales")
    publish(releases, "one", 0)
    pin(releases, "the sale lasts")
    with pytest.raises(Held):
        publish(releases, "two", 2, APPROVED)
    with pytest.raises(Held):
        publish(releases, "two", 2, APPROVED, over_pin=1)
    publish(releases, "two", 2, APPROVED, over_pin=2)
    assert pinned_by(releases.ledger.entries()) is None
