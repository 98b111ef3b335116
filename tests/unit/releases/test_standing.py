"""What entries say together: what a rollback goes back to, who is pinned, pruned, withdrawn."""

from datetime import date

import pytest

from tasks.releases.ledger import Entry, Kind
from tasks.releases.standing import before_champion, marks, named, pinned_by, pruned


def ledger(*written: tuple[Kind, int]) -> list[Entry]:
    """Entries of these kinds and releases; a prune names release 1."""
    return [
        Entry(
            seq=seq,
            kind=kind,
            release=release,
            files=f"sales/files/{release}",
            model_sha256=f"model {release}",
            manifest_sha256="",
            run_id="",
            as_of=date(2026, 1, 1),
            reason="",
            created="",
            previous="",
            pruned=(1,) if kind == "prune" else (),
        )
        for seq, (kind, release) in enumerate(written, 1)
    ]


THREE: tuple[tuple[Kind, int], ...] = (("promote", 1), ("promote", 2), ("promote", 3))


@pytest.mark.parametrize(
    ("written", "before"),
    [
        ((), None),
        (THREE[:1], None),
        (THREE, 2),
        ((*THREE, ("pin", 3), ("unpin", 3), ("prune", 3)), 2),
        # A rollback undoes: the next one goes further back, and never to what was just taken out of service.
        ((*THREE, ("rollback", 2)), 1),
        ((*THREE, ("rollback", 2), ("rollback", 1)), None),
        ((*THREE, ("rollback", 1)), None),
        ((*THREE[:2], ("rollback", 1), ("rollback", 2)), 1),
        ((*THREE[:2], ("rollback", 1), ("promote", 4)), 1),
        ((*THREE, ("rollback", 2), ("promote", 5), ("rollback", 2)), 1),
    ],
)
def test_what_a_rollback_goes_back_to(written: tuple[tuple[Kind, int], ...], before: int | None) -> None:
    found = before_champion(ledger(*written))
    assert (found.release if found else None) == before


@pytest.mark.parametrize(
    ("after", "pin"),
    [
        ((), None),
        ((("pin", 3),), 4),
        ((("pin", 3), ("prune", 3)), 4),
        ((("pin", 3), ("unpin", 3)), None),
        ((("pin", 3), ("unpin", 3), ("pin", 3)), 6),
        ((("pin", 3), ("rollback", 2)), None),
        ((("pin", 3), ("promote", 5)), None),
    ],
)
def test_who_is_pinned(after: tuple[tuple[Kind, int], ...], pin: int | None) -> None:
    found = pinned_by(ledger(*THREE, *after))
    assert (found.seq if found else None) == pin


def test_marks_of_releases() -> None:
    entries = ledger(*THREE, ("rollback", 2), ("prune", 2), ("pin", 2))
    assert marks(entries) == {1: ["pruned"], 2: ["champion", "pinned"], 3: ["rolled back"]}
    assert {release: entry.seq for release, entry in pruned(entries).items()} == {1: 5}
    assert marks([]) == {}


def test_of_many_numbers_the_newest_are_named() -> None:
    assert named([]) == "none yet"
    assert named([3, 1, 2]) == "1, 2, 3"
    assert named(range(1, 101)).startswith("… 81, 82, ") and named(range(1, 101)).endswith(", 99, 100")
