"""A pin keeps nights from replacing a champion. Pin and unpin are ledger entries, so the fence decides their races."""

from tasks.core.errors import UsageError
from tasks.releases.ledger import Entry
from tasks.releases.standing import pinned_by, refuse_if_pinned
from tasks.releases.store import ReleaseStore


def pin(releases: ReleaseStore, reason: str, run_id: str = "", expected: int | None = None) -> Entry:
    """Keep the champion where it is. A night that compared with an earlier entry is superseded by this one.

    `run_id`: who does it, if no person. `expected`: the entry that is believed to be the last; None: whichever is.
    Raises UsageError when there is no champion, Held when it is pinned already, Superseded when another entry was
    written meanwhile.
    """
    champion, entries = releases.release(), releases.ledger.entries()
    refuse_if_pinned(entries, releases.workload)
    last = champion.seq if expected is None else expected
    return releases.ledger.repeat(champion, expected=last, kind="pin", reason=reason, run_id=run_id)


def unpin(releases: ReleaseStore, reason: str) -> Entry:
    """Let nights replace the champion again.

    Raises UsageError when it is not pinned, Superseded when another entry was written meanwhile.
    """
    champion, entries = releases.release(), releases.ledger.entries()
    if pinned_by(entries) is None:
        raise UsageError(f"{releases.workload}: release {champion.release} is not pinned")
    return releases.ledger.repeat(champion, expected=champion.seq, kind="unpin", reason=reason)
