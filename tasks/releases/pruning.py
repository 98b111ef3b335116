"""This module removes the files of old releases, and of promotions that never became one.

The ledger names what goes, then it goes. The entry is fenced as every other: a rollback to a release that goes, or
a promotion under way, either comes first and is seen here, or finds that it came second. A run's files name the entry
that it compared with, so a promotion that begins later never has the digest of a release that is removed here.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tasks.core.errors import UsageError
from tasks.releases import copies
from tasks.releases.ledger import Entry
from tasks.releases.standing import before_champion, pruned, releases
from tasks.releases.store import ReleaseStore

ORPHANED_AFTER = timedelta(days=1)
WRITERS = 16


@dataclass(frozen=True)
class Pruning:
    """A pruning lists what goes. `releases`: newly named by the ledger; `folders`: theirs, and leftovers of prunes.

    `orphans`: folders of promotions that were superseded or killed. `files`: how many in all. `kept`: releases.
    """

    releases: tuple[int, ...]
    folders: tuple[str, ...]
    orphans: tuple[str, ...]
    files: int
    kept: tuple[int, ...]


def what_goes(store: ReleaseStore, keep: int, now: datetime | None = None) -> Pruning:
    """Return the files that `prune` would remove.

    What stays: the `keep` newest releases, the champion (pinned or not), the release that a rollback goes back to, and
    all that share their files with one of these. Raises UsageError when there is no release.
    """
    entries = store.ledger.entries()
    going = _going(store, entries, keep)
    made = releases(entries)
    gone = {*going, *pruned(entries)}
    folders, orphans, keys = _removable(store, entries, gone, now or datetime.now(UTC))
    return Pruning(going, folders, orphans, len(keys), tuple(number for number in made if number not in gone))


def prune(store: ReleaseStore, keep: int, now: datetime | None = None, reason: str = "") -> Pruning:
    """Remove it, and write `reason` to the ledger. The rest of a killed prune is removed by the next one.

    Raises Superseded, before anything is removed, when another entry was written meanwhile.
    """
    now, last = now or datetime.now(UTC), store.champion()
    found = what_goes(store, keep, now)
    if last and (found.releases or found.orphans):
        said = f"keep {keep}" + (f"; {len(found.orphans)} orphaned folders" if found.orphans else "")
        said += f"; {reason}" if reason else ""
        store.ledger.repeat(last, expected=last.seq, kind="prune", reason=said, pruned=found.releases)
    entries = store.ledger.entries()  # as things are behind the fence: only what the ledger says goes
    _, _, keys = _removable(store, entries, set(pruned(entries)), now)
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(store.store.delete, keys))
    return found


def _going(store: ReleaseStore, entries: Sequence[Entry], keep: int) -> tuple[int, ...]:
    """Return the releases to be named by a new entry."""
    if keep < 1:
        raise UsageError(f"keep {keep}: at least one release must stay")
    if not entries:
        raise UsageError(f"{store.workload}: no release yet, nothing to prune")
    made, gone = releases(entries), set(pruned(entries))
    stay = {made[number].files for number in _protected(entries, made, keep) - gone}
    return tuple(number for number in made if number not in gone and made[number].files not in stay)


def _removable(
    store: ReleaseStore, entries: Sequence[Entry], gone: Collection[int], now: datetime
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Return folders of releases that are gone, orphaned folders, and the keys of all their files and copies."""
    made, present = releases(entries), _folders(store)
    vouched = {entry.files for number, entry in made.items() if number not in gone}
    folders = tuple(sorted({made[number].files for number in gone} & set(present) - vouched))
    named = {entry.files for entry in entries}
    orphans = tuple(
        sorted(
            folder
            for folder, files in present.items()
            if folder not in named and now - max(files.values()) > ORPHANED_AFTER
        )
    )
    keys = [key for folder in (*folders, *orphans) for key in present[folder]]
    going = {copies.folder(made[number].files) for number in gone} - {copies.folder(files) for files in vouched}
    copied = store.store.keys(f"{store.workload}/{copies.PLACE}/")
    return folders, orphans, keys + [key for key in copied if key.rpartition("/")[0] in going]


def _protected(entries: Sequence[Entry], made: Collection[int], keep: int) -> set[int]:
    before = before_champion(entries)
    return {*sorted(made)[-keep:], entries[-1].release} | ({before.release} if before else set())


def _folders(store: ReleaseStore) -> dict[str, dict[str, datetime]]:
    """Return when each file below each release's folder was written."""
    found: dict[str, dict[str, datetime]] = defaultdict(dict)
    for key, when in store.store.modified(f"{store.workload}/files/").items():
        found["/".join(key.split("/")[:3])][key] = when
    return found
