"""The ledger tells what became champion when, why and by which run. Append-only, hash-chained, the promotion's fence.

`standing` reads the entries together (who is pinned, pruned or next in line).
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import IntegrityError, NightstillError, UnavailableError, UsageError
from tasks.core.params import NAME
from tasks.core.storage import ObjectExists, ObjectStore, require_fence
from tasks.releases.manifest import DIGEST

Kind = Literal["promote", "rollback", "pin", "unpin", "prune"]


FILES = re.compile(r"[0-9a-f]{1,64}")
LATER = ("pruned", "approved_by", "approved_why")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def require_name(workload: str) -> None:
    """Check a workload's name, which is a part of keys. Raises UsageError when it could lead to another place."""
    if not NAME.fullmatch(workload):
        raise UsageError(f"{workload!r}: a workload's name has lower-case letters, digits and hyphens only")


class Superseded(NightstillError):
    """Another run wrote the ledger entry that this one wanted: it compared with a model that is champion no longer."""

    exit_code = 75


class Entry(BaseModel):
    """An entry is one change of champion, or a decision that leaves the champion: it repeats the champion's facts.

    `release`: the number of the release, which is the `seq` of the promotion that made it. `files`: key of the folder
    with its files. `previous`: SHA-256 of the former entry's bytes, empty for the first. `digest`: SHA-256 of this
    entry's other fields, so that a change of the last entry shows too. `created`: UTC. `pruned`: the releases whose
    files a `prune` removes. `approved_by`, `approved_why`: who approved the release and why, if somebody was asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=1)
    kind: Kind
    release: int = Field(ge=1)
    files: str
    model_sha256: str
    manifest_sha256: str
    run_id: str
    as_of: date
    reason: str
    created: str
    previous: str
    pruned: tuple[int, ...] = ()
    approved_by: str = ""
    approved_why: str = ""
    digest: str = ""

    def sealed(self) -> "Entry":
        """Return this entry with its `digest`."""
        content = _canonical(self._stored({"digest"}))
        return self.model_copy(update={"digest": hashlib.sha256(content).hexdigest()})

    @property
    def sha256(self) -> str:
        """Return SHA-256 of the stored bytes: the next entry's `previous`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the entry as it is stored; equal entries give equal bytes."""
        return _canonical(self._stored(set()))

    def _stored(self, without: set[str]) -> dict[str, Any]:
        """Return the written fields; LATER ones only where they say anything, so that entries of before still hold."""
        return self.model_dump(mode="json", exclude=without | {name for name in LATER if not getattr(self, name)})


def _canonical(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


class Ledger:
    """A ledger is `<workload>/ledger/<seq>.json` in an object store. The last entry is the champion, nothing else.

    `<workload>/head` holds the number of an entry that was written, as a rule the last one: no chain shows that its
    end is missing. It decides nothing, so it may lag behind.
    """

    def __init__(self, store: ObjectStore, workload: str) -> None:
        require_name(workload)
        self.store = store
        self.workload = workload

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first. Raises IntegrityError naming the first one that breaks the chain."""
        with ThreadPoolExecutor(8) as pool:  # years of nights are a thousand reads
            found = list(pool.map(self._existing, self._numbers()))
        previous = ""
        for entry in found:
            if entry.previous != previous:
                url = self._url(entry.seq)
                raise IntegrityError(f"{url}: does not follow from entry {entry.seq - 1}; one of them was replaced")
            previous = entry.sha256
        return found

    def last(self) -> Entry | None:
        """Return the champion's entry. Raises IntegrityError if it was changed, or one before it is missing."""
        numbers = self._numbers()
        return self._existing(numbers[-1]) if numbers else None

    def get(self, seq: int) -> Entry | None:
        """Return one entry, None if it is not written yet. Raises IntegrityError if it was changed."""
        try:
            data = self.store.read(self._key(seq))
        except KeyError:
            return None
        try:
            entry = Entry.model_validate_json(data)
        except (ValidationError, RecursionError):
            entry = None
        if entry is None or entry.seq != seq or not self._sound(entry) or entry.sealed().to_bytes() != data:
            raise IntegrityError(f"{self._url(seq)}: not the entry that was written; restore it from a copy")
        return entry

    def _sound(self, entry: Entry) -> bool:
        """Return whether the fields that become parts of paths have their proper form."""
        folder, _, name = entry.files.rpartition("/")
        return (
            folder == f"{self.workload}/files"
            and FILES.fullmatch(name) is not None
            and all(DIGEST.fullmatch(digest) for digest in (entry.model_sha256, entry.manifest_sha256))
            and (not entry.run_id or RUN_ID.fullmatch(entry.run_id) is not None)
        )

    def append(  # noqa: PLR0913 named arguments
        self,
        *,
        expected: int,
        kind: Kind,
        files: str,
        model_sha256: str,
        manifest_sha256: str,
        run_id: str,
        as_of: date,
        reason: str,
        release: int | None = None,
        pruned: Sequence[int] = (),
        approved: tuple[str, str] = ("", ""),
    ) -> Entry:
        """Write entry `expected` + 1. `release`: None for a new one, which gets that number.

        `approved`: by whom and why; empty if nobody was asked.

        Raises Superseded when the number is taken (of racing callers one wins), IntegrityError when `expected` itself
        is not there, ConfigError when the store cannot fence, UsageError on a value that no entry may hold.
        """
        self._require_fence()
        seq = expected + 1
        entry = Entry(
            seq=seq,
            kind=kind,
            release=seq if release is None else release,
            files=files,
            model_sha256=model_sha256,
            manifest_sha256=manifest_sha256,
            run_id=run_id,
            as_of=as_of,
            reason=reason,
            created=datetime.now(UTC).isoformat(),
            previous=self._existing(expected).sha256 if expected else "",
            pruned=tuple(pruned),
            approved_by=approved[0],
            approved_why=approved[1],
        ).sealed()
        if not self._sound(entry):  # what could not be read back must not be written
            raise UsageError(
                f"{self.workload}: run_id {run_id!r:.80}, files {files!r:.80} or a digest cannot stand in a ledger "
                "entry; a run_id has letters, digits, '.', '_' and '-', at most 200"
            )
        try:
            self.store.create(self._key(seq), entry.to_bytes())
        except ObjectExists:
            taken = self.get(seq)
            if taken is None:
                raise UnavailableError(f"{self._url(seq)}: written by another at the same moment; try again") from None
            if taken != entry:  # equal: our own write, repeated by the client because its answer was lost
                raise Superseded(
                    f"{self.workload}: ledger entry {seq} was written meanwhile (by {taken.run_id or taken.kind}); "
                    "compare with it and try again"
                ) from None
        with contextlib.suppress(NightstillError):  # the entry stands
            self.store.write(self._head, str(seq).encode())
        return entry

    def repeat(
        self, of: Entry, *, expected: int, kind: Kind, reason: str, run_id: str = "", pruned: Sequence[int] = ()
    ) -> Entry:
        """Write entry `expected` + 1 with the facts of an earlier release, which it makes or leaves champion.

        Raises the errors of `append`.
        """
        return self.append(
            expected=expected,
            kind=kind,
            release=of.release,
            files=of.files,
            model_sha256=of.model_sha256,
            manifest_sha256=of.manifest_sha256,
            run_id=run_id,
            as_of=of.as_of,
            reason=reason,
            pruned=pruned,
        )

    def _existing(self, seq: int) -> Entry:
        entry = self.get(seq)
        if entry is None:
            raise IntegrityError(f"{self._url(seq)}: this ledger entry is missing; restore it from a copy")
        return entry

    def _numbers(self) -> range:
        """Return 1 to the last entry's number. Raises IntegrityError when one between is missing."""
        written = self._written()
        names = (key.rsplit("/", 1)[1] for key in self.store.keys(f"{self.workload}/ledger/"))
        listed = {int(name[:8]) for name in names if re.fullmatch(r"\d{8}\.json", name)}
        numbers = range(1, max(written, *listed, 0) + 1)
        for seq in numbers:  # the first gap ends it, however far a stray name or head points
            if seq not in listed:
                self._existing(seq)  # there after all, if it was written while the folder was being listed
        return numbers

    def _written(self) -> int:
        """Return a number up to which there must be entries."""
        try:
            data = self.store.read(self._head)
        except KeyError:
            return 0
        if not re.fullmatch(rb"[0-9]{1,8}\s*", data):
            raise IntegrityError(
                f"{self.store.url(self._head)}: not a ledger entry's number; delete it once the ledger is whole"
            )
        return int(data)

    @property
    def _head(self) -> str:
        return f"{self.workload}/head"

    def _require_fence(self) -> None:
        """Check before the first entry that a server obeys create-only writes; a folder always does."""
        if self.store.uri.startswith("s3://"):
            require_fence(self.store)

    def _key(self, seq: int) -> str:
        return f"{self.workload}/ledger/{seq:08d}.json"

    def _url(self, seq: int) -> str:
        return self.store.url(self._key(seq))
