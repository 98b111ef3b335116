"""Scoring a raw table with a release: its verified bytes, its own feature contract, the code that trained it."""

import json
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from itertools import chain

import polars as pl
from polars import selectors

from tasks.compression.runtime import OnnxModel, usable_cores
from tasks.config.run import parse_run
from tasks.core.errors import DataError, IntegrityError
from tasks.problems import get_problem
from tasks.problems.contracts import contract_from_json
from tasks.releases.store import MODEL, ReleaseStore
from tasks.tables.validation.guard import require

ROWS_AT_ONCE = 8_000_000


class Scorer:
    """One release, loaded and verified: digests, and its signature if `releases` has trusted keys.

    `release`: None for the champion. Raises UsageError when there is no such release, IntegrityError when its files do
    not hold.
    """

    def __init__(self, releases: ReleaseStore, workload: str, release: int | None = None) -> None:
        entry = releases.release(release)
        origin = f"{workload} release {entry.release}: run.yaml"
        self._run = parse_run(releases.read(entry, "run.yaml"), origin)
        contract, model = releases.read(entry, "contract.json"), releases.read(entry, MODEL)
        try:
            self._contract = contract_from_json(json.loads(contract))
            self._model = OnnxModel(model, threads=usable_cores())
        except Exception as error:  # whatever a contract or ONNX Runtime says of what was released
            said = " ".join(str(error).split())[:300]
            where = f"{workload} release {entry.release}"
            raise IntegrityError(f"{where}: cannot be loaded: {said}; roll back to another release") from error
        self._problem = get_problem(self._run.problem)

    def score(self, table: pl.DataFrame, as_of: date) -> pl.DataFrame:
        """Predictions for a raw table under the problem's table contract. Raises DataError when it breaks that."""
        require(table, self._problem.table(), self._run.checks)
        return _finite(self._problem.predict(table.lazy(), as_of, self._contract, self._model))

    def stream(self, table: pl.LazyFrame, as_of: date, rows: int = ROWS_AT_ONCE) -> Iterator[pl.DataFrame]:
        """The predictions of `score` in parts, for tables larger than memory: about so many `rows` are read at once.

        A part has whole entities, and of their rows only those that a prediction on `as_of` can depend on. Raises
        DataError when the table has none, or breaks the contract.
        """
        table = self._problem.recent(table, as_of, self._contract)
        count = int(table.select(pl.len()).collect(engine="streaming").item())
        if not count:
            raise DataError(f"table: no rows that a prediction on {as_of} could be made from")
        entity = pl.struct(self._problem.table().entity).hash(seed=0)
        parts = -(-count // rows)
        for part in range(parts):
            mine = table if parts == 1 else table.filter(entity % parts == part)
            found = mine.collect(engine="streaming")
            if not found.is_empty():
                yield self.score(found, as_of)


def _finite(predictions: pl.DataFrame) -> pl.DataFrame:
    """The predictions, if they are numbers. Raises DataError naming the first row that is none."""
    fine = pl.all_horizontal(selectors.float().is_finite().fill_null(value=True))
    odd = predictions.filter(~fine) if predictions.select(selectors.float()).width else predictions.clear()
    if odd.height:
        first = ", ".join(f"{name} {value}" for name, value in odd.row(0, named=True).items())
        raise DataError(
            f"{odd.height:,} predictions are not finite, the first: {first:.200}; the table holds values that no "
            "training saw"
        )
    return predictions


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
