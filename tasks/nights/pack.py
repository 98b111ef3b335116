"""A pack is one object with many small documents: a year of nights is thousands, and each read of S3 takes its time."""

import gzip
import json
import zlib
from collections.abc import Callable

from tasks.core.storage import ObjectStore

Stamped = tuple[str, str]
"""The stamp and the text of a document."""


class Pack:
    """A Pack answers reads of documents that are as they were when they were packed, and takes the others along.

    A document counts as unchanged if its stamp, which a listing tells, is the same; one without a stamp is not packed.
    A pack that is lost or damaged costs time alone.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        self.store, self.key = store, key
        self.packed = self._load()
        self.fresh: dict[str, Stamped] = {}

    def read(self, key: str, stamp: str) -> str:
        """Return a document's text. Raises KeyError when there is none, and what else the store raises."""
        packed = self.packed.get(key)
        if packed and stamp and packed[0] == stamp:
            return packed[1]
        text = self.store.read(key).decode()
        if stamp:
            self.fresh[key] = (stamp, text)
        return text

    def keep(self, there: Callable[[str], bool]) -> None:
        """Write the pack if something in it is new; what is not `there` any more is left out then."""
        if self.fresh:
            packed = {key: found for key, found in {**self.packed, **self.fresh}.items() if there(key)}
            self.store.write(self.key, gzip.compress(json.dumps(packed, sort_keys=True).encode(), mtime=0))

    def _load(self) -> dict[str, Stamped]:
        try:
            found = json.loads(gzip.decompress(self.store.read(self.key)))
            return {str(key): (str(stamp), str(text)) for key, (stamp, text) in found.items()}
        except (KeyError, OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError):
            return {}
