"""A release's manifest.json lists SHA-256 and bytes of every file. Its own digest names the release's folder."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from tasks.core.errors import IntegrityError

NAME = "manifest.json"
MODEL = "model.onnx"


DIGEST = re.compile(r"[0-9a-f]{64}")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,199}")


class Listed(NamedTuple):
    """These facts of one file stand in the manifest."""

    sha256: str
    size: int

    @classmethod
    def of(cls, data: bytes) -> "Listed":
        """Return the facts of these bytes."""
        return cls(sha256(data), len(data))


def sha256(data: bytes) -> str:
    """Return hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def build(files: Mapping[str, bytes]) -> bytes:
    """Return manifest.json of these files; equal files give equal bytes."""
    listed = {name: Listed.of(data)._asdict() for name, data in files.items()}
    return (json.dumps({"files": listed}, indent=1, sort_keys=True) + "\n").encode()


def parse(data: bytes) -> dict[str, Listed]:
    """Parse the bytes of `build`, by file name. Raises IntegrityError when they are something else."""
    try:
        found = {name: Listed(**facts) for name, facts in json.loads(data)["files"].items()}
        sound = all(
            FILE_NAME.fullmatch(name) and DIGEST.fullmatch(listed.sha256) and type(listed.size) is int
            for name, listed in found.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise IntegrityError(f"{NAME} {sha256(data)[:16]}…: not a list of files; restore it from a copy, or roll back")
    return found


def check(data: bytes, expected: Listed, url: str) -> bytes:
    """Return `data`, if it agrees with the manifest. Raises IntegrityError naming `url` otherwise."""
    found = Listed.of(data)
    if found != expected:
        raise IntegrityError(
            f"{url}: {found.size} bytes with SHA-256 {found.sha256[:16]}…, released were {expected.size} bytes "
            f"with {expected.sha256[:16]}…; restore the file from a copy, or roll back to another release"
        )
    return data
