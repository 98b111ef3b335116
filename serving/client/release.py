"""This module reads stored ledger entries and manifests, and checks them before use."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from serving.client.errors import IntegrityError, SettingError
from serving.client.origin import Origin

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MODEL = "model.onnx"
CONTRACT = "contract.json"
PROFILE = "profile.json"

DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
FILES = re.compile(r"[a-z0-9][a-z0-9-]*/files/[0-9a-f]{1,64}")
RUN_ID = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})?")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}")


def sha256(data: bytes) -> str:
    """Return hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Release:
    """A release holds the facts of the ledger entry that made it champion.

    `number`: the release's own; `entry`: that of the ledger entry, of kind `kind`. `files`: key of its folder.
    `as_of`: last day of the data that it learned from. `created`: when it became champion, UTC, ISO 8601.
    `stored`: the entry's bytes.
    """

    number: int
    entry: int
    kind: str
    files: str
    model_sha256: str
    manifest_sha256: str
    as_of: str
    reason: str
    run_id: str
    created: str
    previous: str
    stored: bytes

    @property
    def sha256(self) -> str:
        """Return SHA-256 of the entry's bytes: the next entry's `previous`."""
        return sha256(self.stored)

    @classmethod
    def parse(cls, stored: bytes, seq: int, url: str) -> "Release":
        """Parse a stored entry. Raises IntegrityError if these are not the bytes that were written as entry `seq`.

        An entry's `digest` is the SHA-256 of its other fields, as canonical JSON; fields of later versions are let be.
        """
        try:
            found = json.loads(stored)
            content = {name: value for name, value in found.items() if name != "digest"}
            release = cls(
                number=found["release"],
                entry=found["seq"],
                **{name: str(found[name]) for name in _TEXTS},
                stored=stored,
            )
            date.fromisoformat(release.as_of)
            sound = release._sound() and _canonical(found) == stored and sha256(_canonical(content)) == found["digest"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound or release.entry != seq:
            raise IntegrityError(f"{url}: not the ledger entry that was written; restore it from a copy")
        return release

    def _sound(self) -> bool:
        """Return whether numbers are numbers, and the fields that become parts of paths have their proper form."""
        return (
            all(type(number) is int and number > 0 for number in (self.number, self.entry))
            and all(DIGEST.fullmatch(digest) for digest in (self.model_sha256, self.manifest_sha256))
            and FILES.fullmatch(self.files) is not None
            and RUN_ID.fullmatch(self.run_id) is not None
        )


_TEXTS = ("kind", "files", "model_sha256", "manifest_sha256", "as_of", "reason", "run_id", "created", "previous")


def _canonical(data: dict[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


class Ledger:
    """A ledger is `<workload>/ledger/<seq>.json`: hash-chained; the release of the last entry is the champion.

    `<workload>/head` holds a number up to which there must be entries.
    """

    def __init__(self, origin: Origin, workload: str) -> None:
        if not NAME.fullmatch(workload):  # it is a part of paths
            raise SettingError(f"{workload!r}: a workload's name has lower-case letters, digits and hyphens only")
        self.origin, self.workload = origin, workload

    def last(self, known: Release | None) -> Release | None:
        """Return the champion; None without any entry.

        After the entry `known` this costs one read where nothing was appended, and each new entry must follow from its
        predecessor. Raises IntegrityError when an entry was changed or `known` is not in the ledger any more.
        """
        if known is None:
            return self._listed()
        if self._get(known.entry) != known:
            raise IntegrityError(
                f"{self._url(known.entry)}: not the entry that was there before; was the ledger replaced? Restore it, "
                "or remove the cache of this consumer if that was meant"
            )
        for release in self._after(known):
            known = release
        return known

    def _after(self, release: Release) -> Iterator[Release]:
        while (following := self._get(release.entry + 1)) is not None:
            if following.previous != release.sha256:
                raise IntegrityError(f"{self._url(following.entry)}: does not follow from entry {release.entry}")
            yield following
            release = following

    def _listed(self) -> Release | None:
        folder = f"{self.workload}/ledger"
        names = [name for name in self.origin.names(folder) if re.fullmatch(r"\d{8}\.json", name)]
        seq = max([self._head(), *(int(name[:8]) for name in names)])
        if not seq:
            return None
        before = self._get(seq - 1) if seq > 1 else None
        release = self._get(seq)
        if release is None or (seq > 1 and before is None) or release.previous != (before.sha256 if before else ""):
            raise IntegrityError(
                f"{self._url(seq)}: this ledger entry, or the one before it, is missing or was replaced; "
                "restore the ledger from a copy"
            )
        return release

    def _head(self) -> int:
        key = f"{self.workload}/head"
        try:
            data = self.origin.read(key)
        except KeyError:
            return 0
        if not re.fullmatch(rb"[0-9]{1,8}\s*", data):
            raise IntegrityError(f"{self.origin.uri}/{key}: not the number of a ledger entry")
        return int(data)

    def _get(self, seq: int) -> Release | None:
        try:
            stored = self.origin.read(self._key(seq))
        except KeyError:
            return None
        release = Release.parse(stored, seq, self._url(seq))
        if not release.files.startswith(f"{self.workload}/"):
            raise IntegrityError(f"{self._url(seq)}: its files are of another workload; restore it from a copy")
        return release

    def _key(self, seq: int) -> str:
        return f"{self.workload}/ledger/{seq:08d}.json"

    def _url(self, seq: int) -> str:
        return f"{self.origin.uri}/{self._key(seq)}"


def digests(manifest: bytes) -> dict[str, str]:
    """Return SHA-256 of every file of a release, by name. Raises ValueError when this is no manifest."""
    try:
        found = {name: facts["sha256"] for name, facts in json.loads(manifest)["files"].items()}
        sound = all(FILE_NAME.fullmatch(name) and DIGEST.fullmatch(digest) for name, digest in found.items())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ValueError("not a manifest")
    return found
