"""This module gives an installed distribution one digest, which changes with any byte that can run."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from tasks.core.errors import ConfigError


def distribution_digest(distribution: Distribution) -> str:
    """Return SHA-256 over path and content of each file, in the order of their paths.

    Equal for an ordinary and an editable installation: of what installers write only the entry points count. Bytecode
    does not, nor do programs, whose first line names an environment. Raises ConfigError when a file is gone.
    """
    found = {**_modules(distribution), **_listed(distribution)}
    entries = sorted(f"{entry.group} {entry.name} {entry.value}\n" for entry in distribution.entry_points)
    digest = hashlib.sha256("".join(entries).encode())
    for name in sorted(found):
        try:
            content = found[name].read_bytes()
        except OSError as error:
            about = f"{distribution.name} {distribution.version}"
            raise ConfigError(f"{about}: its file {name} cannot be read; install it again") from error
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _listed(distribution: Distribution) -> Mapping[str, Path]:
    """Return the files that the installer listed, without its own; those of an editable installation lie elsewhere.

    Its list is read here: the backport of importlib.metadata, once imported, leaves out of `files` those that are gone.
    """
    listed = [row[0] for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()) if row]
    return {
        file.as_posix(): Path(str(distribution.locate_file(file)))
        for file in map(PurePosixPath, listed or map(str, distribution.files or ()))
        if not file.parts[0].endswith((".dist-info", ".egg-info"))
        and not file.name.startswith("__editable__")
        and ".." not in file.parts
        and _counts(Path(file))
    }


def _modules(distribution: Distribution) -> Mapping[str, Path]:
    """Return the files of the packages that hold the entry points' modules."""
    modules = {entry.module for entry in distribution.entry_points if entry.group.startswith("nightstill.")}
    return {name: path for module in modules for name, path in _package(module)}


def _package(module: str) -> Iterator[tuple[str, Path]]:
    """Return the files of a module's outermost package that has code of its own, found without importing the module."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        try:
            spec = find_spec(".".join(parts[:length]))
        except (ImportError, ValueError):
            return
        if spec is None or spec.origin is None:  # a namespace, which several distributions may share
            continue
        file = Path(spec.origin)
        root = file.parents[length] if spec.submodule_search_locations else file.parents[length - 1]
        for path in sorted(file.parent.rglob("*")) if spec.submodule_search_locations else [file]:
            if path.is_file() and _counts(path.relative_to(root)):
                yield path.relative_to(root).as_posix(), path
        return


def _counts(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix != ".pyc"
