"""Releases are immutable sets of files, content-addressed, each made current by an entry of the ledger."""

from collections.abc import Mapping, Sequence
from datetime import date

from tasks.core.errors import IntegrityError, UsageError
from tasks.core.storage import ObjectStore
from tasks.releases import manifest, signing
from tasks.releases.ledger import Entry, Ledger, Superseded
from tasks.releases.standing import (
    REPLACING,
    before_champion,
    named,
    refuse_if_pinned,
    refuse_if_pruned,
    releases,
)
from tasks.releases.verification import check_release

MODEL = manifest.MODEL
PROFILE = "profile.json"
INPUT_EXAMPLE = "input_example.json"


class ReleaseStore:
    """A store holds one workload's releases: `<workload>/files/<digest>/…`, written before the entry, then read-only.

    Every file read is checked against the digests that the ledger vouches for, and with trusted `keys` its signature.
    """

    def __init__(self, store: ObjectStore, workload: str, keys: signing.Keys = signing.UNSIGNED) -> None:
        self.store = store
        self.workload = workload
        self.keys = keys
        self.ledger = Ledger(store, workload)

    def publish(
        self,
        files: Mapping[str, bytes],
        *,
        expected: int,
        run_id: str,
        as_of: date,
        reason: str,
        approved: tuple[str, str] = ("", ""),
        over_pin: int = 0,
    ) -> Entry:
        """Release `files` (`model.onnx` among them) as ledger entry `expected` + 1.

        `expected`: the entry that the run compared with, 0 for none. `approved`: by whom and why, if somebody
        was asked; `over_pin`: the pin in spite of which they approved. Doing it again after a kill, with the same files
        and run_id, finishes the work or returns the entry that is there. Raises Superseded when another run was faster,
        Held when entry `expected` has its champion pinned.
        """
        refuse_if_pinned(self._since_change(expected), self.workload, over_pin)
        listing = manifest.build(files)
        digest = manifest.sha256(listing)
        folder = f"{self.workload}/files/{digest[:16]}"
        if self.ledger.get(expected + 1) is None:
            signature = self.keys.sign(self.workload, listing)
            self._write(folder, {**files, **signature, manifest.NAME: listing})
        try:
            return self.ledger.append(
                expected=expected,
                kind="promote",
                files=folder,
                model_sha256=manifest.sha256(files[MODEL]),
                manifest_sha256=digest,
                run_id=run_id,
                as_of=as_of,
                reason=reason,
                approved=approved,
            )
        except Superseded:
            taken = self.ledger.get(expected + 1)
            if taken and (taken.run_id, taken.manifest_sha256) == (run_id, digest):
                return taken
            raise

    def rollback(self, to: int | None, reason: str, run_id: str = "", expected: int | None = None) -> Entry:
        """Make release `to` champion again by a new entry, after checking its digests.

        `to`: None for the release that was champion before the present one. `expected`: the entry that is believed to
        be the last; None: whichever is. Doing it again with the same run_id (unless
        that is empty) returns the entry that is there. Raises UsageError when there is no such release or it is
        champion already, Held when the champion is pinned, Pruned or IntegrityError when the release's files are gone
        or do not hold, Superseded when another entry was written meanwhile.
        """
        entries = self.ledger.entries()
        for entry in entries:
            if run_id and (entry.kind, entry.run_id) == ("rollback", run_id):
                return entry
        refuse_if_pinned(entries, self.workload)
        if to is None:
            before = before_champion(entries)
            if before is None:
                said = "no release was champion before the present one and was not rolled back; name one"
                raise UsageError(f"{self.workload}: {said}: `nightstill release list {self.workload}` shows them")
            to = before.release
        target = self._made(entries, to)
        if entries[-1].release == to:
            raise UsageError(f"{self.workload}: release {to} is champion already")
        self.verify(target)
        last = len(entries) if expected is None else expected
        return self.ledger.repeat(target, expected=last, kind="rollback", reason=reason, run_id=run_id)

    def champion(self) -> Entry | None:
        """Return the ledger's last entry, None before the first release."""
        return self.ledger.last()

    def release(self, number: int | None = None) -> Entry:
        """Return a release's entry; None: the champion's. Raises UsageError if there is none, Pruned if gone."""
        if number is not None:
            return self._made(self.ledger.entries(), number)
        entry = self.champion()
        if entry is None:
            raise UsageError(
                f"{self.workload}: no release yet; the first night that passes its gates makes one "
                f"(`nightstill run {self.workload}`)"
            )
        return entry

    def _made(self, entries: Sequence[Entry], number: int) -> Entry:
        """Return the entry that made a release whose files are kept."""
        made = releases(entries)
        if number not in made:
            raise UsageError(f"{self.workload}: no release {number}; there are: {named(made)}")
        refuse_if_pruned(entries, number, self.workload)
        return made[number]

    def _since_change(self, seq: int) -> list[Entry]:
        """Return the entries up to `seq` since its release became champion: only these can pin it."""
        found: list[Entry] = []
        while seq and (entry := self.ledger.get(seq)):
            found.insert(0, entry)
            if entry.kind in REPLACING:
                break
            seq -= 1
        return found

    def champion_file(self, seq: int, name: str) -> bytes | None:
        """Return a file of entry `seq`'s champion; None for `seq` 0 or a file that the release does not have.

        Raises IntegrityError when the entry is missing or the file is not the released one.
        """
        if seq == 0:
            return None
        entry = self.ledger.get(seq)
        if entry is None:
            raise IntegrityError(
                f"{self.workload}: no ledger entry {seq} in {self.store.uri}; was it opened elsewhere?"
            )
        listed = self.files(entry).get(name)
        return None if listed is None else self.checked(entry, name, listed)

    def files(self, entry: Entry) -> dict[str, manifest.Listed]:
        """Return the files of an entry's release, by file name."""
        return manifest.parse(self._manifest(entry))

    def read(self, entry: Entry, name: str) -> bytes:
        """Read a file of an entry's release, or its manifest.json. Raises UsageError if it has none of that name."""
        if name == manifest.NAME:
            return self._manifest(entry)
        files = self.files(entry)
        if name not in files:
            raise UsageError(f"release {entry.release} has no file {name!r}; it has: {', '.join(sorted(files))}")
        return self.checked(entry, name, files[name])

    def verify(self, entry: Entry) -> None:
        """Read every file of an entry's release. Raises IntegrityError naming the first that does not hold."""
        present = [key.removeprefix(f"{entry.files}/") for key in self.store.keys(f"{entry.files}/")]
        check_release(self, entry, present)

    def sign(self, entry: Entry, keys: signing.Keys) -> None:
        """Sign an entry's release with the private one of these keys; a signature that is there is replaced."""
        self._write(entry.files, keys.sign(self.workload, self._manifest(entry)))

    def _write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write files of a release, where nobody else is to write: MLflow would, beside a model that it loads."""
        for name, data in files.items():
            self.store.write(f"{folder}/{name}", data)
        self.store.freeze(folder)

    def url(self, entry: Entry) -> str:
        """Return the address of an entry's files."""
        return self.store.url(entry.files)

    def _manifest(self, entry: Entry) -> bytes:
        data = self._bytes(entry, manifest.NAME)
        if manifest.sha256(data) != entry.manifest_sha256:
            url = self.file_url(entry, manifest.NAME)
            raise IntegrityError(f"{url}: not the manifest that ledger entry {entry.seq} names; restore it from a copy")
        if self.keys.trusted:
            self._check_signature(entry, data)
        return data

    def _check_signature(self, entry: Entry, listing: bytes) -> None:
        try:
            signature = self.store.read(f"{entry.files}/{signing.NAME}")
        except KeyError:
            signature = None
        self.keys.check(self.workload, entry.release, listing, signature, self.file_url(entry, signing.NAME))

    def checked(self, entry: Entry, name: str, listed: manifest.Listed) -> bytes:
        """Read a file of an entry's release. Raises IntegrityError when it is not the file that the manifest lists."""
        return manifest.check(self._bytes(entry, name), listed, self.file_url(entry, name))

    def _bytes(self, entry: Entry, name: str) -> bytes:
        try:
            return self.store.read(f"{entry.files}/{name}")
        except KeyError:
            refuse_if_pruned(self.ledger.entries(), entry.release, self.workload)
            url = self.file_url(entry, name)
            raise IntegrityError(
                f"{url}: missing from release {entry.release}; restore it from a copy, or roll back to another release"
            ) from None

    def file_url(self, entry: Entry, name: str) -> str:
        """Return the address of a file of an entry's release."""
        return self.store.url(f"{entry.files}/{name}")
