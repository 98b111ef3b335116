"""Scoring a raw table with a release: its verified bytes, its own feature contract, the code that trained it."""

import json
from datetime import date

import polars as pl

from tasks.compression.runtime import OnnxModel
from tasks.config import parse_run
from tasks.problems import get_problem
from tasks.problems.contracts import contract_from_json
from tasks.releases.store import MODEL, ReleaseStore
from tasks.validation.guard import require


def score(
    releases: ReleaseStore, workload: str, table: pl.DataFrame, as_of: date, *, release: int | None = None
) -> pl.DataFrame:
    """Predictions for a raw table under the problem's table contract.

    `release`: None for the champion. Raises UsageError when there is no such release, IntegrityError when its files do
    not hold, DataError when the table breaks the contract.
    """
    entry = releases.release(release)
    run = parse_run(releases.read(entry, "run.yaml").decode(), f"{workload} release {entry.release}: run.yaml")
    contract = contract_from_json(json.loads(releases.read(entry, "contract.json")))
    model = OnnxModel(releases.read(entry, MODEL), threads=run.threads)
    problem = get_problem(run.problem)
    require(table, problem.table(), run.checks)
    return problem.predict(table.lazy(), as_of, contract, model)
