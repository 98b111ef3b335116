"""This module checks every digest of a workload's releases against the ledger that vouches for them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.core.errors import IntegrityError
from tasks.releases import manifest, signing
from tasks.releases.ledger import Entry
from tasks.releases.standing import pruned, releases

if TYPE_CHECKING:
    from tasks.releases.store import ReleaseStore

READERS = 16
# MLflow notes in a model's folder whence it loaded it, if the folder is of the same machine. No reader takes it for a
# part of the release, which the manifest alone lists.
LEFT_BY_READERS = {"registered_model_meta"}
REPEATED = ("files", "model_sha256", "manifest_sha256", "as_of")


@dataclass(frozen=True)
class Verified:
    """These files were read and hold. `bytes`: of the files; `pruned`: releases whose files are gone on purpose."""

    entries: int
    releases: int
    files: int
    bytes: int
    pruned: int

    def __str__(self) -> str:
        gone = f"; {self.pruned} pruned" if self.pruned else ""
        return (
            f"{self.entries:,} ledger entries, {self.releases:,} releases, {self.files:,} files with {self.bytes:,} "
            f"bytes: every digest holds{gone}"
        )


def verify(store: "ReleaseStore", number: int | None = None) -> Verified:
    """Check the ledger's chain and every file of all releases, or of release `number`.

    Raises IntegrityError naming the first entry or file, in the order of the ledger, that is changed, missing or not
    part of the release; UsageError or Pruned when there is no such release.
    """
    entries = store.ledger.entries()
    check_entries(store, entries)
    made = releases(entries)
    gone = pruned(entries)
    wanted = [entry for release, entry in made.items() if release not in gone] if number is None else []
    if number is not None:
        wanted = [store.release(number)]
    present = _present(store, wanted[0].files if number is not None else f"{store.workload}/files")

    def check(entry: Entry) -> tuple[int, int]:
        return check_release(store, entry, present[entry.files])

    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(check, wanted))
    return Verified(
        entries=len(entries),
        releases=len(wanted),
        files=sum(files for files, _ in read),
        bytes=sum(size for _, size in read),
        pruned=len(gone) if number is None else 0,
    )


def check_entries(store: "ReleaseStore", entries: Sequence[Entry]) -> None:
    """Every entry must name a release that an earlier one made, with that release's facts; a pin, its champion."""
    made: dict[int, Entry] = {}
    champion = 0
    for entry in entries:
        if entry.kind == "promote" and entry.release == entry.seq:
            made[entry.release] = entry
        origin = made.get(entry.release)
        same = origin and all(getattr(origin, field) == getattr(entry, field) for field in REPEATED)
        if not same or (entry.kind not in ("promote", "rollback") and entry.release != champion):
            raise IntegrityError(
                f"{store.workload}: ledger entry {entry.seq} ({entry.kind}) does not name release {entry.release} as "
                "it was made; restore the ledger from a copy"
            )
        champion = entry.release


def check_release(store: "ReleaseStore", entry: Entry, present: Collection[str]) -> tuple[int, int]:
    """Read every file of an entry's release; returns their number and bytes. `present`: names that lie in its folder.

    Raises IntegrityError naming the first file that does not hold, is missing, or was added.
    """
    files = store.files(entry)
    for name, listed in files.items():
        store.checked(entry, name, listed)
    if manifest.MODEL not in files or files[manifest.MODEL].sha256 != entry.model_sha256:
        url = store.file_url(entry, manifest.MODEL)
        raise IntegrityError(f"{url}: not the model that ledger entry {entry.seq} names; restore it from a copy")
    if added := sorted(set(present) - set(files) - {manifest.NAME, signing.NAME} - LEFT_BY_READERS):
        raise IntegrityError(
            f"{store.file_url(entry, added[0])}: was added to release {entry.release} after it was made; remove it"
        )
    return len(files) + 1, sum(listed.size for listed in files.values())


def _present(store: "ReleaseStore", folder: str) -> dict[str, set[str]]:
    """Return the names of all files below `folder`, by release's folder."""
    found: dict[str, set[str]] = defaultdict(set)
    for key in store.store.keys(f"{folder}/"):
        parts = key.split("/")
        found["/".join(parts[:3])].add("/".join(parts[3:]))
    return found
