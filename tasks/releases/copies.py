"""This module keeps copies of releases that others may write beside: MLflow notes there whence it loaded a model.

Releases in S3 need none: MLflow downloads them first. A folder's it opens where they are, and those are read-only.
"""

from tasks.core.storage import FolderStore
from tasks.releases import manifest
from tasks.releases.ledger import Entry
from tasks.releases.store import ReleaseStore

PLACE = "mlflow"


def folder(files: str) -> str:
    """Return the key of the copy of a release, by the key of its files: `<workload>/mlflow/<digest>`."""
    workload, _, digest = files.split("/")
    return f"{workload}/{PLACE}/{digest}"


def url(releases: ReleaseStore, entry: Entry) -> str:
    """Return the address of a release's files for readers that write beside them: of the copy, in a folder store."""
    return releases.store.url(folder(entry.files)) if _opened_in_place(releases) else releases.url(entry)


def missing(releases: ReleaseStore, entry: Entry) -> bool:
    """Return whether a release lacks its copy, or has a part of one: its manifest is written last."""
    return _opened_in_place(releases) and not releases.store.exists(f"{folder(entry.files)}/{manifest.NAME}")


def make(releases: ReleaseStore, entry: Entry) -> None:
    """Copy a release's files, each checked by its digest. Raises IntegrityError, or Pruned when they are gone."""
    for name in (*releases.files(entry), manifest.NAME):
        releases.store.write(f"{folder(entry.files)}/{name}", releases.read(entry, name))


def _opened_in_place(releases: ReleaseStore) -> bool:
    return isinstance(releases.store, FolderStore)
