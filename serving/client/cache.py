"""A cache is a consumer's own copy of loaded objects, by their SHA-256, and the last champion of each store.

Many processes may share a folder: every file appears whole or not at all. It may be deleted at any time.
"""

import base64
import json
import logging
import os
import tempfile
import time
from pathlib import Path

from serving.client.errors import IntegrityError
from serving.client.origin import SMALL, regular
from serving.client.release import DIGEST, Release, sha256

LEFTOVER_SECONDS = 3600
LARGEST = 2 << 30

log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Return `nightstill` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightstill"


class Cache:
    """A cache is a folder: `objects/<SHA-256>` and `champions/<store and workload>.json`.

    Without room for it, nothing is kept.
    """

    def __init__(self, folder: Path, uri: str, workload: str) -> None:
        self.folder = folder
        self._champion = folder / "champions" / f"{sha256(f'{uri} {workload}'.encode())[:32]}.json"
        self._partial = folder / "partial"
        self._remove_leftovers()

    def get(self, digest: str) -> bytes | None:
        """Return the bytes with this SHA-256, None if they are not here whole. A damaged file is removed."""
        if not DIGEST.fullmatch(digest):  # no path is made of it
            return None
        path = self.folder / "objects" / digest
        try:
            data = regular(path, LARGEST)
        except (OSError, IntegrityError):  # a pipe would be waited for, and a sparse file fills the memory
            return None
        if sha256(data) == digest:
            return data
        log.warning("%s: damaged, fetched anew", path)
        path.unlink(missing_ok=True)
        return None

    def put(self, data: bytes) -> None:
        """Keep these bytes."""
        self._write(self.folder / "objects" / sha256(data), data)

    def champion(self) -> tuple[Release, bytes | None] | None:
        """Return the champion loaded last here, and its signature; None if there is none, or it is damaged."""
        try:
            found = json.loads(regular(self._champion, SMALL))
            signature = None if found["signature"] is None else base64.b64decode(found["signature"])
            return Release.parse(found["entry"].encode(), found["seq"], str(self._champion)), signature
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, IntegrityError):
            log.warning("%s: damaged, read anew from the store", self._champion)
            return None

    def remember(self, release: Release, signature: bytes | None) -> None:
        """Keep this champion, unless another process has already gone on to a later entry."""
        known = self.champion()
        if known is None or known[0].entry <= release.entry:
            text = None if signature is None else base64.b64encode(signature).decode()
            state = {"seq": release.entry, "entry": release.stored.decode(), "signature": text}
            self._write(self._champion, json.dumps(state).encode())

    def _write(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir(exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self._partial)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(partial).replace(path)
            except OSError:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            log.warning("%s: cannot be kept (%s); the next start needs the store", path, error.strerror)

    def _remove_leftovers(self) -> None:
        """Remove the leftovers of processes that were killed while they wrote."""
        if not self._partial.is_dir():
            return
        for path in self._partial.iterdir():
            try:
                if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                    path.unlink()
            except OSError:  # another process was faster
                continue
