"""Raw rows are read here: the bytes of their image files become arrays, part by part, and each gets a digest."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract.images import Unreadable
from tasks.problems.base import rows_within
from tasks.problems.vision.options import Options

LABELS = "labels"
"""The raw table has this name."""
PLACE = "_place"
FILES_BYTES = 256 * 2**20
"""So many bytes of files are held at once, as far as a row's mean size tells."""


@dataclass(frozen=True)
class Part:
    """A Part holds some rows: their columns with PLACE but without files, and what each file is.

    `images` (n, height, width, channels); `faults`: why a file cannot be read, empty for all others.
    """

    rows: pl.DataFrame
    images: NDArray[np.uint8]
    faults: tuple[str, ...]

    @property
    def digests(self) -> list[str]:
        """Return a text for each image; equal images have equal ones."""
        return [blake2b(image.tobytes(), digest_size=16).hexdigest() for image in self.images]


def known(table: pl.LazyFrame, options: Options, as_of: date) -> pl.LazyFrame:
    """Return the raw table's rows up to `as_of`, with PLACE; all of them where rows have no time."""
    placed = table.with_row_index(PLACE)
    if options.time and options.time in table.collect_schema():
        return placed.filter(pl.col(options.time).cast(pl.Date) <= as_of)
    return placed


def parts(table: pl.LazyFrame, options: Options) -> Iterator[Part]:
    """Yield the rows of a `known` table in their order, so many at a time as memory should hold."""
    field = options.field
    count = int(table.select(pl.len()).collect(engine="streaming").item())
    if not count:
        return
    sample = table.select(pl.col(options.image).bin.size().mean()).collect(engine="streaming").item()
    size = rows_within(int(sample or 0) + int(np.prod(field.shape)), FILES_BYTES)
    for start in range(0, count, size):
        found = table.slice(start, size).collect(engine="streaming")
        images = np.zeros((len(found), *field.shape), np.uint8)
        faults = []
        for place, content in enumerate(found[options.image]):
            try:
                images[place] = field.read(content or b"")
                faults.append("")
            except Unreadable as error:
                faults.append(str(error))
        yield Part(found.drop(options.image), images, tuple(faults))


def without_unreadable(table: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Return the table with null in place of files that cannot be read, if no more of them are than may be."""
    readable = pl.Series([_is_readable(content, options) for content in table[options.image]], dtype=pl.Boolean)
    if (~readable).sum() > options.max_unreadable * len(table):
        return table
    return table.with_columns(pl.when(readable).then(options.image).alias(options.image))


def _is_readable(content: bytes | None, options: Options) -> bool:
    try:
        options.field.read(content or b"")
    except Unreadable:
        return False
    return True


def named(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """Return what a row is called: its id, or else its place."""
    return {options.id: row[options.id]} if options.id else {"row": row[PLACE]}
