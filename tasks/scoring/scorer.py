"""Scoring a raw table with a release: its verified bytes, its own feature contract, the code that trained it."""

import json
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from itertools import chain

import polars as pl

from tasks.compression.runtime import OnnxModel, usable_cores
from tasks.core.errors import DataError
from tasks.problems.base import rows_within
from tasks.releases.store import MODEL, ReleaseStore
from tasks.scoring.tables import TableScorer

BYTES_AT_ONCE = 512 * 2**20
SAMPLE = 1000
"""Rows by which the size of a row in memory is judged."""


class Scorer:
    """One release, loaded and verified: digests, and its signature if `releases` has trusted keys.

    `release`: None for the champion. Raises UsageError when there is no such release, IntegrityError when its files do
    not hold.
    """

    def __init__(self, releases: ReleaseStore, workload: str, release: int | None = None) -> None:
        entry = releases.release(release)
        run = releases.read(entry, "run.yaml").decode()
        contract = json.loads(releases.read(entry, "contract.json"))
        self._tables = TableScorer(run, contract, f"{workload} release {entry.release}: run.yaml")
        self._model = OnnxModel(releases.read(entry, MODEL), threads=usable_cores())

    def score(self, table: pl.DataFrame, as_of: date) -> pl.DataFrame:
        """Predictions for a raw table under the problem's table contract. Raises DataError when it breaks that."""
        self._tables.check(table)
        return self._tables.predict(table, as_of, self._model)

    def stream(self, table: pl.LazyFrame, as_of: date, budget_bytes: int = BYTES_AT_ONCE) -> Iterator[pl.DataFrame]:
        """The predictions of `score` in parts, for tables larger than memory: about so many bytes are read at once.

        A part has whole entities, and of their rows only those that a prediction on `as_of` can depend on. Raises
        DataError when the table has none, or breaks the contract.
        """
        table = self._tables.problem.recent(table, as_of, self._tables.contract)
        count = int(table.select(pl.len()).collect(engine="streaming").item())
        if not count:
            raise DataError(f"table: no rows that a prediction on {as_of} could be made from")
        entity = pl.struct(self._tables.table.entity).hash(seed=0)
        sample = table.head(SAMPLE).collect(engine="streaming")
        parts = -(-count // rows_within(-(-int(sample.estimated_size()) // sample.height), budget_bytes))
        for part in range(parts):
            mine = table if parts == 1 else table.filter(entity % parts == part)
            found = mine.collect(engine="streaming")
            if not found.is_empty():
                yield self.score(found, as_of)


def to_parquet(parts: Iterator[pl.DataFrame]) -> tuple[bytes, int]:
    """One Parquet file of all parts, and its number of rows."""
    import pyarrow.parquet

    content, rows = BytesIO(), 0
    first = next(parts)
    # Decimals hardly repeat, and nobody looks for rows by a forecast's value: trying both takes most of the writing.
    repeated = [name for name, dtype in first.schema.items() if not dtype.is_float()]
    with pyarrow.parquet.ParquetWriter(
        content, first.clear().to_arrow().schema, compression="zstd", use_dictionary=repeated, write_statistics=False
    ) as writer:
        for part in chain([first], parts):
            writer.write_table(part.to_arrow().cast(writer.schema))
            rows += part.height
    return content.getvalue(), rows
