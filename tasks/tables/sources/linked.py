"""A table may name files instead of holding them: this module puts the bytes of each file in its path's place."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import polars as pl

from tasks.core.errors import ConfigError, UsageError
from tasks.core.storage import CONNECTIONS, ObjectStore, open_store
from tasks.tables.sources.base import Absent, Unreadable
from tasks.tables.sources.places import S3
from tasks.tables.table import TableContract

LONGEST_NAME = 255
"""Bytes of a name in a folder, on the file systems that there are."""


def check_linked(files: str | None, contract: TableContract) -> None:
    """Refuse a folder of files for a table that has no column of bytes. Raises ConfigError."""
    if files is not None and not any(column.kind == "binary" for column in contract.columns):
        raise ConfigError(f"source.files: table {contract.name} has no column of files; leave the option out")


def linked(
    table: pl.DataFrame, contract: TableContract, columns: Mapping[str, str], files: str, project: Path
) -> tuple[pl.DataFrame, Mapping[str, str], tuple[str, ...]]:
    """Return the table with bytes in the contract's columns of them, their names, and notes of lost files.

    `columns`: contract name -> the table's. A path may tell another column as well, such as an id: then the bytes get a
    column of their own, and the names returned say so. `files`, `project`, errors: see `with_files`.
    """
    told = {column.name: columns.get(column.name, column.name) for column in contract.columns}
    binary = [column.name for column in contract.columns if column.kind == "binary"]
    for name in binary:
        path = told[name]
        if path in table.columns and list(told.values()).count(path) > 1:
            others = {ours: path for ours, theirs in told.items() if theirs == path and ours != name}
            told[name] = f"{path} ({name})"
            columns = {**columns, **others, name: told[name]}
            table = table.with_columns(pl.col(path).alias(told[name]))
    table, lost = with_files(table, [told[name] for name in binary], files, project)
    return table, columns, lost


def with_files(
    table: pl.DataFrame, names: Sequence[str], files: str, project: Path
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the table with bytes in its columns `names`, which hold paths below `files`; and notes of lost files.

    `files`: a folder, from `project` if relative, or `s3://bucket/prefix`. A file that is not there becomes empty
    bytes, which the checks count among the unreadable ones; null stays null. Raises Absent on a missing folder,
    Unreadable on a column that holds no texts, and on a path or a link that leaves the folder; UnavailableError when a
    file is there and may not be read.
    """
    if not files.startswith(S3) and not (project / files).is_dir():
        raise Absent(f"source.files: {files}: no such folder")
    store = open_store(files if files.startswith(S3) else str(project / files))
    notes = []
    for name in names:
        if name not in table.columns:
            continue
        if table.schema[name] not in (pl.String, pl.Null):
            kind = table.schema[name]
            raise Unreadable(f"{name}: source.files wants paths there, and finds {kind}; leave source.files out")
        paths = table[name].cast(pl.String)
        wanted = paths.drop_nulls().unique(maintain_order=True).to_list()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            found = dict(zip(wanted, pool.map(lambda path, name=name: _read(store, path, name), wanted), strict=True))
        lost = [path for path, content in found.items() if content is None]
        if lost:
            notes.append(f"{name}: {len(lost)} of {len(wanted)} files are not there, such as {lost[0]!r:.80}")
        contents = [None if path is None else found[path] or b"" for path in paths]
        table = table.with_columns(pl.Series(name, contents, pl.Binary))
    return table, tuple(notes)


def _read(store: ObjectStore, path: str, column: str) -> bytes | None:
    """Return a file's bytes, None where there is none. Raises Unreadable on no path, or one that leaves the store."""
    out = Unreadable(f"{column}: {path!r:.80} leaves {store.uri}; write paths below source.files")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise out
    if any(len(part.encode()) > LONGEST_NAME for part in pure.parts):
        raise Unreadable(f"{column}: {path!r:.80} is no path; if the table holds bytes, leave source.files out")
    try:
        return store.read(pure.as_posix()) if pure.parts else None
    except KeyError:
        return None
    except UsageError:  # a link
        raise out from None
    except ValueError as error:
        raise Unreadable(f"{column}: {path!r:.80} is no path: {error}") from None
