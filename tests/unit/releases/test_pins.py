"""A pinned champion stays: against nights, against rollbacks, and in a race."""

from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.releases.ledger import Superseded
from tasks.releases.pins import pin, unpin
from tasks.releases.pruning import prune
from tasks.releases.standing import Held
from tasks.releases.verification import verify


@pytest.fixture
def two(releases: Any) -> Any:
    releases.promote("one")
    releases.promote("two")
    return releases


def test_a_pin_repeats_the_champion(two: Any) -> None:
    champion = two.champion()
    entry = pin(two, "the sale")
    assert (entry.seq, entry.kind, entry.reason, entry.run_id) == (3, "pin", "the sale", "")
    for field in ("release", "files", "model_sha256", "manifest_sha256", "as_of"):
        assert getattr(entry, field) == getattr(champion, field)
    assert two.champion() == entry and two.champion_file(3, "model.onnx") == b"two"
    assert verify(two).entries == 3


def test_a_pinned_champion_is_neither_replaced_nor_rolled_back_nor_pinned_twice(two: Any) -> None:
    pin(two, "the sale")
    prune(two, 1)
    way_out = r"release 2 is pinned by ledger entry 3 \(the sale\); `nightstill release unpin sales --reason …` first"
    for use in (
        lambda: two.promote("three"),
        lambda: two.rollback(1, "x"),
        lambda: two.rollback(None, "x"),
        lambda: pin(two, "again"),
    ):
        with pytest.raises(Held, match=way_out) as caught:
            use()
        assert caught.value.exit_code == 64
    assert two.champion().release == 2 and len(two.ledger.entries()) == 3


def test_after_unpinning_everything_goes_on(two: Any) -> None:
    pin(two, "the sale")
    assert (unpin(two, "it is over").kind, two.champion().release) == ("unpin", 2)
    assert two.promote("three").release == 5
    assert two.rollback(None, "bad").release == 2


def test_a_night_that_compared_before_the_pin_is_superseded_by_it(two: Any) -> None:
    pin(two, "the sale")
    with pytest.raises(Superseded, match="ledger entry 3 was written meanwhile"):
        two.promote("late", expected=2)
    assert two.champion().release == 2


def test_a_night_that_was_faster_than_the_pin_wins(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = two.ledger.entries()
    two.promote("faster")
    monkeypatch.setattr(two, "release", lambda: entries[-1])
    monkeypatch.setattr(two.ledger, "entries", lambda: entries)
    with pytest.raises(Superseded):
        pin(two, "the sale")
    assert two.champion().kind == "promote"


def test_there_must_be_something_to_pin_and_to_unpin(releases: Any) -> None:
    with pytest.raises(UsageError, match="sales: no release yet"):
        pin(releases, "x")
    releases.promote("one")
    with pytest.raises(UsageError, match="sales: release 1 is not pinned"):
        unpin(releases, "x")
