"""Scoring a raw table with a release: its verified bytes, its own feature contract, the code that trained it."""

import json
from datetime import date

import numpy as np
import onnxruntime
import polars as pl

from tasks.config import parse_run
from tasks.problems import get_problem
from tasks.problems.base import Floats, Inputs, Predict
from tasks.problems.contracts import contract_from_json
from tasks.releases.store import MODEL, ReleaseStore

BATCH = 4096


def score(
    releases: ReleaseStore, workload: str, table: pl.LazyFrame, as_of: date, *, release: int | None = None
) -> pl.DataFrame:
    """Predictions for a raw table under the problem's table contract.

    `release`: None for the champion. Raises UsageError when there is no such release, IntegrityError when its files do
    not hold, DataError when the table breaks the contract.
    """
    entry = releases.release(release)
    run = parse_run(releases.read(entry, "run.yaml").decode(), f"{workload} release {entry.release}: run.yaml")
    contract = contract_from_json(json.loads(releases.read(entry, "contract.json")))
    model = onnx_model(releases.read(entry, MODEL), threads=run.threads)
    return get_problem(run.problem).predict(table, as_of, contract, model)


def onnx_model(model: bytes, threads: int) -> Predict:
    """ONNX bytes as a function from inputs to outputs, computed some thousand rows at a time on the CPU.

    Free of torch, so that scoring starts in a fraction of a second.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def predict(inputs: Inputs) -> Floats:
        rows = len(inputs[names[0]])
        parts = [
            session.run(["output"], {name: inputs[name][start : start + BATCH] for name in names})[0]
            for start in range(0, max(rows, 1), BATCH)
        ]
        return np.concatenate(parts).astype(np.float32, copy=False)

    return predict
