"""No loop of a stage holds the inputs of all rows: each goes by a budget of bytes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.core.files import read_json
from tasks.problems import PROBLEMS
from tasks.problems.base import BATCH_BYTES, Batches, FeatureContract, rows_within
from tests.sizes.made_up import ASKED, KIND, MadeUp, OnDisk, build_wide, register
from tests.sizes.stages import STEPS, Size, context, prepare, step

SIZE = Size(40_000, (1024,), "uint8")
BUDGET = BATCH_BYTES // 4
"""Each byte of a row counts as the float that a layer makes of it."""


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Path]:
    """A workspace before the stage features."""
    register()
    prepare(tmp_path, SIZE)
    ASKED.largest, ASKED.calls = 0, []
    yield tmp_path
    del PROBLEMS[KIND], sys.modules[f"tasks.problems.{KIND}.models"]


def test_no_stage_asks_for_the_inputs_of_all_rows(night: Path) -> None:
    from tasks.distillation.trainer import predict

    for name in STEPS:
        step(night, SIZE, name)
    artifacts = context(night, SIZE).artifacts
    verdict = read_json(artifacts / "evaluation" / "verdict.json")
    assert verdict["rows"] == SIZE.rows * 2 // 5 and verdict["verdict"] == "promote", verdict["reason"]

    dataset = MadeUp({"shape": SIZE.shape, "dtype": SIZE.dtype}).load(artifacts / "features")
    rows = dataset.splits["test"]
    assert predict(build_wide({}, dataset.contract), dataset, rows).shape == (len(rows), 1)

    whole = len(rows) * SIZE.row_bytes
    assert ASKED.largest <= BUDGET < whole / 2
    assert len(ASKED.calls) > 6 * whole / BUDGET, "every model reads all rows"


def test_a_disturbance_is_the_same_for_every_model_and_new_for_every_batch(night: Path) -> None:
    from tasks.gates.evaluation_set import EvaluationSet

    step(night, SIZE, "features")
    problem = MadeUp({"shape": SIZE.shape, "dtype": SIZE.dtype})
    dataset = problem.load(context(night, SIZE).artifacts / "features")
    assert isinstance(dataset, OnDisk)
    dataset.x = np.full_like(dataset.x, 100)
    disturbed = EvaluationSet(problem, dataset).disturbed("noise", 5, 3)
    first, again = ([batch["x"] for batch in disturbed] for _ in range(2))
    assert len(first) == 3 and all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0][:100], first[1][:100])


def test_a_batch_has_a_row_at_least_and_no_more_than_the_budget() -> None:
    assert [rows_within(size, 1000) for size in (0, 1, 300, 1000, 5000)] == [1000, 1000, 3, 1, 1]
    assert rows_within(1, 1000, most=7) == 7
    contract = FeatureContract("any", {"x": ("uint8", (3, 32, 32)), "codes": ("int64", (2,))}, (1,))
    assert (contract.row_bytes(), contract.row_bytes(["codes"])) == (4 * 3072 + 16, 16)


@pytest.mark.parametrize("budget", [8, 24, 1000])
def test_batches_give_all_rows_in_order_as_often_as_they_are_asked(budget: int) -> None:
    values = np.arange(10, dtype=np.float32)[:, None]
    batches = Batches.of({"x": values}, budget)
    for _ in range(2):
        parts = [part["x"] for part in batches]
        assert np.array_equal(np.concatenate(parts), values) and len(batches) == 10
        assert max(part.nbytes for part in parts) <= budget
