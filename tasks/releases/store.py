"""Releases: immutable sets of files, content-addressed, each made current by an entry of the ledger."""

from collections.abc import Mapping
from datetime import date

from tasks.errors import IntegrityError, UsageError
from tasks.releases import manifest
from tasks.releases.ledger import Entry, Ledger, Superseded
from tasks.storage import ObjectStore

MODEL = "model.onnx"


class ReleaseStore:
    """Releases of one workload: `<workload>/files/<digest>/…`, written before the ledger entry and never changed.

    Whatever is read is held against the digests that the ledger vouches for.
    """

    def __init__(self, store: ObjectStore, workload: str) -> None:
        self.store = store
        self.workload = workload
        self.ledger = Ledger(store, workload)

    def publish(self, files: Mapping[str, bytes], *, expected: int, run_id: str, as_of: date, reason: str) -> Entry:
        """Release `files` (`model.onnx` among them) as ledger entry `expected` + 1.

        `expected`: the entry that the run compared with, 0 for none. Doing it again after a kill, with the same files
        and run_id, finishes the work or returns the entry that is there. Raises Superseded when another run was faster.
        """
        listing = manifest.build(files)
        digest = manifest.sha256(listing)
        folder = f"{self.workload}/files/{digest[:16]}"
        if self.ledger.get(expected + 1) is None:
            for name, data in {**files, manifest.NAME: listing}.items():
                self.store.write(f"{folder}/{name}", data)
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
            )
        except Superseded:
            taken = self.ledger.get(expected + 1)
            if taken and (taken.run_id, taken.manifest_sha256) == (run_id, digest):
                return taken
            raise

    def rollback(self, to: int, reason: str, run_id: str = "") -> Entry:
        """Make release `to` champion again by a new entry, after checking its digests.

        Raises UsageError when there is no such release or it is champion already, IntegrityError when its files do not
        hold, Superseded when another entry was written meanwhile.
        """
        target, last = self.release(to), self.champion()
        assert last is not None
        if last.release == to:
            raise UsageError(f"{self.workload}: release {to} is champion already")
        self.verify(target)
        return self.ledger.append(
            expected=last.seq,
            kind="rollback",
            release=to,
            files=target.files,
            model_sha256=target.model_sha256,
            manifest_sha256=target.manifest_sha256,
            run_id=run_id,
            as_of=target.as_of,
            reason=reason,
        )

    def champion(self) -> Entry | None:
        """The ledger's last entry, None before the first release."""
        return self.ledger.last()

    def release(self, number: int | None = None) -> Entry:
        """The entry that made a release; None: the champion's. Raises UsageError if there is none."""
        entry = self.champion() if number is None else self.ledger.get(number)
        if entry is None or (number is not None and entry.kind != "promote"):
            which = "release yet" if number is None else f"release {number}"
            raise UsageError(f"{self.workload}: no {which}; `nightstill release list {self.workload}` shows them")
        return entry

    def champion_file(self, seq: int, name: str) -> bytes | None:
        """A file of the release that ledger entry `seq` made champion; None for `seq` 0 or a file it does not have.

        Raises IntegrityError when the entry is missing or the file is not what was released.
        """
        if seq == 0:
            return None
        entry = self.ledger.get(seq)
        if entry is None:
            raise IntegrityError(
                f"{self.workload}: no ledger entry {seq} in {self.store.uri}; was it opened elsewhere?"
            )
        listed = self.files(entry).get(name)
        return None if listed is None else self._checked(entry, name, listed)

    def files(self, entry: Entry) -> dict[str, manifest.Listed]:
        """What an entry's release is made of, by file name."""
        return manifest.parse(self._manifest(entry))

    def read(self, entry: Entry, name: str) -> bytes:
        """A file of an entry's release, or its manifest.json. Raises UsageError if it has none of that name."""
        if name == manifest.NAME:
            return self._manifest(entry)
        files = self.files(entry)
        if name not in files:
            raise UsageError(f"release {entry.release} has no file {name!r}; it has: {', '.join(sorted(files))}")
        return self._checked(entry, name, files[name])

    def verify(self, entry: Entry) -> None:
        """Read every file of an entry's release. Raises IntegrityError naming the first that does not hold."""
        files = self.files(entry)
        for name, listed in files.items():
            self._checked(entry, name, listed)
        if MODEL not in files or files[MODEL].sha256 != entry.model_sha256:
            raise IntegrityError(f"{self._url(entry, MODEL)}: not the model that ledger entry {entry.seq} names")

    def verify_all(self) -> None:
        """Check the ledger's chain and every file of every release. Raises IntegrityError."""
        for entry in self.ledger.entries():
            if entry.kind == "promote":
                self.verify(entry)

    def url(self, entry: Entry) -> str:
        """Where an entry's files lie."""
        return self.store.url(entry.files)

    def _manifest(self, entry: Entry) -> bytes:
        data = self._bytes(entry, manifest.NAME)
        if manifest.sha256(data) != entry.manifest_sha256:
            url = self._url(entry, manifest.NAME)
            raise IntegrityError(f"{url}: not the manifest that ledger entry {entry.seq} names; restore it from a copy")
        return data

    def _checked(self, entry: Entry, name: str, listed: manifest.Listed) -> bytes:
        return manifest.check(self._bytes(entry, name), listed, self._url(entry, name))

    def _bytes(self, entry: Entry, name: str) -> bytes:
        try:
            return self.store.read(f"{entry.files}/{name}")
        except KeyError:
            url = self._url(entry, name)
            raise IntegrityError(
                f"{url}: missing from release {entry.release}; restore it from a copy, or roll back to another release"
            ) from None

    def _url(self, entry: Entry, name: str) -> str:
        return self.store.url(f"{entry.files}/{name}")
