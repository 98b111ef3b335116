"""This module scores raw tables with a release: its verified bytes, its own contract, the code that trained it."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from io import BytesIO
from itertools import chain

import polars as pl

from serving.contract import InputError
from tasks.compression.runtime import OnnxModel
from tasks.core.errors import ConfigError, DataError, IntegrityError
from tasks.core.files import RUN_FILE
from tasks.core.machine import usable_cores
from tasks.problems.base import FeatureContract, Problem, rows_within
from tasks.releases.store import MODEL, ReleaseStore
from tasks.scoring.tables import TableScorer
from tasks.tables.table import Tables

CONTRACT = "contract.json"
NEEDED = (RUN_FILE, CONTRACT, MODEL)
BYTES_AT_ONCE = 512 * 2**20
SAMPLE = 1000
"""The size of a row in memory is judged by so many rows."""


class FilesScorer:
    """A FilesScorer is a model that is loaded from the files that a release of it has, by name.

    `where`: what errors call it. Raises ConfigError when run.yaml is of no kind of learning that is known here,
    IntegrityError when anything else cannot be loaded.
    """

    def __init__(self, files: Mapping[str, bytes], where: str) -> None:
        run, contract, model = (files[name] for name in NEEDED)
        try:
            self._scorer = TableScorer(run, json.loads(contract), where)
            self._model = OnnxModel(model, usable_cores(), self._scorer.contract.most_rows)
        except ConfigError:
            raise
        except Exception as error:  # whatever a contract or ONNX Runtime says of what was released
            said = " ".join(str(error).split())[:300]
            raise IntegrityError(f"{where}: cannot be loaded: {said}; roll back to another release") from error

    @property
    def problem(self) -> Problem:
        """Return the release's kind of learning, with the release's own options."""
        return self._scorer.problem

    @property
    def contract(self) -> FeatureContract:
        """Return the release's contract."""
        return self._scorer.contract

    def recent(self, tables: Mapping[str, pl.DataFrame], as_of: date) -> dict[str, pl.DataFrame]:
        """Return the rows that predictions on `as_of` or later can depend on. Raises IntegrityError as `score` does."""
        found = self._scorer.recent({name: table.lazy() for name, table in tables.items()}, as_of)
        return {name: table.collect(engine="streaming") for name, table in found.items()}

    def score(self, tables: Mapping[str, pl.DataFrame], as_of: date) -> pl.DataFrame:
        """Return predictions for raw tables under the problem's contracts. Raises DataError when one breaks them."""
        try:
            given = self.problem.spared(self._scorer.check(tables), self.contract)
            return self._scorer.predict(given, as_of, self._model)
        except InputError as error:
            raise DataError(str(error)) from None

    def stream(self, tables: Tables, as_of: date, budget_bytes: int = BYTES_AT_ONCE) -> Iterator[pl.DataFrame]:
        """Yield the predictions of `score` in parts, for tables larger than memory: about `budget_bytes` at once.

        A part has whole entities of the first table, and of their rows only those that a prediction on `as_of` can
        depend on; the other tables are read whole. Raises DataError when the first table has none, or a table breaks
        its contract.
        """
        main = self._scorer.contracts[0]
        tables = self._scorer.recent(tables, as_of)
        table = tables[main.name]
        others = {name: other.collect(engine="streaming") for name, other in tables.items() if name != main.name}
        count = int(table.select(pl.len()).collect(engine="streaming").item())
        if not count:
            raise DataError(f"{main.name}: no rows that a prediction on {as_of} could be made from")
        sample = table.head(SAMPLE).collect(engine="streaming")
        parts = (
            1
            if not main.entity
            else -(-count // rows_within(-(-int(sample.estimated_size()) // sample.height), budget_bytes))
        )
        for part in range(parts):
            mine = table if parts == 1 else table.filter(pl.struct(main.entity).hash(seed=0) % parts == part)
            found = mine.collect(engine="streaming")
            if not found.is_empty():
                yield self.score({main.name: found, **others}, as_of)


class Scorer(FilesScorer):
    """A Scorer is one release, loaded and verified: digests, and its signature if `releases` has trusted keys.

    `release`: None for the champion. Raises UsageError when there is no such release, IntegrityError when its files do
    not hold.
    """

    def __init__(self, releases: ReleaseStore, workload: str, release: int | None = None) -> None:
        entry = releases.release(release)
        where = f"{workload} release {entry.release}"
        if missing := {*NEEDED} - releases.files(entry).keys():
            raise IntegrityError(f"{where}: has no {' and no '.join(sorted(missing))}; roll back to another release")
        super().__init__({name: releases.read(entry, name) for name in NEEDED}, where)


def to_parquet(parts: Iterator[pl.DataFrame]) -> tuple[bytes, int]:
    """Write all parts as one Parquet file; return its bytes and its number of rows."""
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
