"""This module writes a release's origin as files of it: for `diff`, and for `reproduce`, which starts from them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.documents import read_yaml
from tasks.releases.manifest import sha256

LOCK = "dvc.lock"
SURROUNDINGS = "surroundings.json"
CODE = "code.json"


def lock_stages(lock: bytes) -> dict[str, Mapping[str, Any]]:
    """Return the stages' entries of a dvc.lock, by name."""
    return dict((read_yaml(lock) or {}).get("stages") or {})


def code_dependencies(lock: bytes) -> dict[str, str]:
    """Return path -> DVC's digest of the inputs in a dvc.lock that none of its stages wrote: code and requirements."""
    stages = lock_stages(lock).values()
    written = {out["path"] for stage in stages for out in stage.get("outs", ())}
    folders = {str(Path(path).parts[0]) for path in written}
    return {
        dep["path"]: dep["md5"]
        for stage in stages
        for dep in stage.get("deps", ())
        if Path(dep["path"]).parts[0] not in folders
    }


def code_digests(root: Path, lock: bytes) -> bytes:
    """Return code.json: SHA-256 of each file below `root` that a dvc.lock's stages use. Equal files, equal bytes."""
    found = {
        file.relative_to(root).as_posix(): sha256(file.read_bytes())
        for path in code_dependencies(lock)
        for file in ([root / path] if (root / path).is_file() else (root / path).rglob("*"))
        if file.is_file() and not _ignored(file.relative_to(root))
    }
    return (json.dumps(found, indent=1, sort_keys=True) + "\n").encode()


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return which files differ between two code.json, and how."""
    return [
        f"{path} {'was added' if path not in before else 'is gone' if path not in now else 'changed'}"
        for path in sorted(set(before) | set(now))
        if before.get(path) != now.get(path)
    ]


def _ignored(path: Path) -> bool:
    """Return whether no stage runs the file: caches and hidden files."""
    return any(part == "__pycache__" or part.startswith(".") for part in path.parts)
