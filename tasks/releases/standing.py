"""This module reads a ledger's entries together: pinned, pruned and rolled back releases, and a rollback's target."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from tasks.core.errors import UsageError
from tasks.releases.ledger import Entry

REPLACING = ("promote", "rollback")
SHOWN = 20


class Held(UsageError):
    """The champion is pinned: nothing takes its place until it is unpinned."""


class Pruned(UsageError):
    """The files of this release were removed on purpose."""


def releases(entries: Iterable[Entry]) -> dict[int, Entry]:
    """Return the entry that made each release, by its number."""
    return {entry.release: entry for entry in entries if entry.kind == "promote"}


def withdrawn(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the rollback that withdrew a model, by the model's SHA-256; without models that are back since."""
    found: dict[str, Entry] = {}
    for before, entry in pairwise(entries):
        if entry.kind == "rollback":
            found[before.model_sha256] = entry
        found.pop(entry.model_sha256, None)
    return found


def pinned_by(entries: Iterable[Entry]) -> Entry | None:
    """Return the entry that pins the champion, None if it is not pinned."""
    pin = None
    for entry in entries:
        if entry.kind == "pin":
            pin = entry
        elif entry.kind == "unpin" or entry.kind in REPLACING:
            pin = None
    return pin


def pruned(entries: Iterable[Entry]) -> dict[int, Entry]:
    """Return the entry that had a release's files removed, by the release's number."""
    return {release: entry for entry in entries for release in entry.pruned}


def before_champion(entries: Iterable[Entry]) -> Entry | None:
    """Return the release that a rollback goes back to by default; None if there is none.

    A rollback undoes: the next one does not go back to a release that it took out of service.
    """
    stack: list[Entry] = []
    for entry in entries:
        if entry.kind == "promote":
            stack.append(entry)
        elif entry.kind == "rollback":
            numbers = [one.release for one in stack]
            stack = stack[: numbers.index(entry.release) + 1] if entry.release in numbers else [*stack, entry]
    return stack[-2] if len(stack) > 1 else None


def before_release(entries: Iterable[Entry], release: int) -> int | None:
    """Return the release that was champion when another one was promoted; None: it was the first."""
    champion = None
    for entry in entries:
        if (entry.kind, entry.release) == ("promote", release):
            return champion
        champion = entry.release
    return None


def refuse_if_pinned(entries: Iterable[Entry], workload: str, but: int = 0) -> None:
    """Raise Held, with the way out, if the champion of these entries is pinned, by another entry than `but`."""
    pin = pinned_by(entries)
    if pin and pin.seq != but:
        raise Held(
            f"{workload}: release {pin.release} is pinned by ledger entry {pin.seq} ({pin.reason}); "
            f"`nightstill release unpin {workload} --reason …` first"
        )


def refuse_if_pruned(entries: Iterable[Entry], release: int, workload: str) -> None:
    """Raise Pruned, which names the entry, if a release's files are gone."""
    if prune := pruned(entries).get(release):
        raise Pruned(
            f"{workload}: the files of release {release} were removed by ledger entry {prune.seq} ({prune.reason}); "
            f"`nightstill release list {workload}` shows what is kept"
        )


def named(made: Iterable[int]) -> str:
    """Return releases' numbers for a person: the newest, if there are many."""
    found = sorted(made)
    return ("… " if len(found) > SHOWN else "") + (", ".join(map(str, found[-SHOWN:])) or "none yet")


def marks(entries: Sequence[Entry]) -> dict[int, list[str]]:
    """Return each release's marks now: champion, pinned, rolled back, pruned, in this order."""
    found: dict[int, list[str]] = {release: [] for release in releases(entries)}
    if entries:
        found[entries[-1].release] += ["champion"] + (["pinned"] if pinned_by(entries) else [])
    bad, gone = withdrawn(entries), pruned(entries)
    for release, made in releases(entries).items():
        found[release] += ["rolled back"] if made.model_sha256 in bad else []
        found[release] += ["pruned"] if release in gone else []
    return found
