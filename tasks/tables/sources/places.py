"""This module finds the files of a `path`: a file, glob or folder, here or in S3, with columns from folders' names."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from glob import escape, glob
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

from tasks.core.storage import ObjectStore, open_store
from tasks.tables.sources.base import Absent, Unreadable
from tasks.tables.sources.csv_file import ENDINGS

READABLE = (".parquet", *ENDINGS)
S3 = "s3://"
SIGNS = "*?["
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
UNFINISHED = "_temporary"
# Folders beside files that are not, or no longer, the table's.
MARKS = {
    UNFINISHED: "is still being written; wait for _SUCCESS",
    "_delta_log": "is a Delta table, which has files of former versions; read it by its engine, or export it",
    ".hoodie": "is a Hudi table, which has files of former versions; read it by its engine, or export it",
}


@dataclass(frozen=True)
class Found:
    """Found is one file. `name`: as errors call it. `folders`: the path's, if the section names or leaves them open.

    `may_be_empty`: engines leave files without a byte beside those that have rows.
    """

    name: str
    read: Callable[[], Path | BytesIO]
    folders: tuple[str, ...] = ()
    may_be_empty: bool = False

    @property
    def partitions(self) -> Mapping[str, str | None]:
        """Return the columns of folders called `name=value`, as Hive and Spark write them."""
        pairs = (folder.partition("=") for folder in self.folders)
        return {unquote(key): None if value == NO_VALUE else unquote(value) for key, mark, value in pairs if mark}


def find(path: str, project: Path) -> list[Found]:
    """Return the files of a path, in the order of their names. Raises Unreadable when there is none."""
    try:
        if path.startswith(S3):
            bucket, _, pattern = path.removeprefix(S3).partition("/")
            found, reason = in_store(open_store(f"{S3}{bucket}"), pattern), "no such file"
        else:
            found, reason = _here(path, project), missing(project / path)
    except OSError as error:
        raise Unreadable(f"{path}: cannot be looked at: {error.strerror}") from error
    if not found:
        raise Absent(f"{path}: {reason}")
    return found


def missing(path: Path) -> str:
    """Say why there is no such file."""
    if path.is_symlink() and not path.exists():
        return f"no such file: the target of this link, {path.readlink()}, is gone"
    return f"no {' or '.join(READABLE)} file in this folder" if path.is_dir() else "no such file"


def in_store(store: ObjectStore, pattern: str) -> list[Found]:
    """List the objects of a key, of a glob of keys, or below a prefix. `*` and `?` match no `/`, as in a folder."""
    first = min((pattern.find(sign) for sign in SIGNS if sign in pattern), default=len(pattern))
    keys = sorted(store.keys(pattern[:first].rstrip("/")))
    tops = {pattern: [pattern]} if pattern in keys else _tops(keys, pattern.rstrip("/").split("/"))
    return [
        Found(store.url(key), partial(_fetch, store, key), tuple(key.split("/")[:-1]), may_be_empty)
        for top, inside in tops.items()
        for key, may_be_empty in ([(top, False)] if inside == [top] else _data_files(store.url(top), top, inside))
    ]


def _here(path: str, project: Path) -> list[Found]:
    full = project / path
    if os.path.isfile(full) or os.path.isdir(full):  # noqa: PTH112, PTH113 (no errors where nobody may look)
        tops = [str(full)]
    else:  # only the section's own signs are a pattern, whatever the project's folder is called
        pattern = path if Path(path).is_absolute() else f"{escape(str(project))}/{path}"
        tops = sorted(glob(pattern, recursive=True))  # noqa: PTH207 (skips hidden files)
    start = 0 if Path(path).is_absolute() else len(f"{project}/")
    found: dict[str, Found] = {}
    for top in tops:
        names = [(top, False)]
        if Path(top).is_dir():
            names = _data_files(top, top, [str(each) for each in sorted(Path(top).rglob("*")) if each.is_file()])
        for name, may_be_empty in names:
            found[name] = Found(name, partial(Path, name), tuple(name[start:].split("/")[:-1]), may_be_empty)
    for folder in {Path(name).parent for name in found}:
        _refuse_marked(str(folder), (mark for mark in MARKS if any((folder / mark).glob("*"))))
    return list(found.values())


def _tops(keys: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys or prefixes that the pattern matches, each with the keys below it."""
    tops: dict[str, list[str]] = {}
    for key in keys:
        parts = key.split("/")
        ends = (end for end in range(1, len(parts) + 1) if _matches(parts[:end], wanted))
        if end := next(ends, 0):
            tops.setdefault("/".join(parts[:end]), []).append(key)
    return tops


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether the parts of a key fit the parts of a pattern, by the rules of globs in folders."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        depth = next((at for at, part in enumerate(parts) if part.startswith(".")), len(parts))
        return any(_matches(parts[at:], wanted[1:]) for at in range(depth + 1))
    if not parts or (parts[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    return (parts[0] == wanted[0] or fnmatchcase(parts[0], wanted[0])) and _matches(parts[1:], wanted[1:])


def _data_files(shown: str, top: str, names: Iterable[str]) -> list[tuple[str, bool]]:
    """Return the files with rows among all files below a folder, and whether one may be empty."""
    below = {name: name.removeprefix(f"{top.rstrip('/')}/").split("/") for name in names}
    _refuse_marked(shown, (part for parts in below.values() for part in parts[:-1]))
    written = any(parts[-1] == "_SUCCESS" for parts in below.values())
    return [
        (name, written)
        for name, parts in below.items()
        if name.lower().endswith(READABLE) and not any(part.startswith(("_", ".")) for part in parts)
    ]


def _refuse_marked(folder: str, names: Iterable[str]) -> None:
    for name in names:
        if name in MARKS:
            raise (Absent if name == UNFINISHED else Unreadable)(f"{folder}: {MARKS[name]}")


def _fetch(store: ObjectStore, key: str) -> BytesIO:
    try:
        return BytesIO(store.read(key))
    except KeyError:
        raise Unreadable(f"{store.url(key)}: removed while it was being read") from None
