"""The bench of rows: ways of weighing a teacher compared by seeds, and trees tuned on the same rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.files import write
from bench.rows import trees
from bench.rows.__main__ import line
from bench.rows.adaptive import ADAPTED, FIXED, World, place_of, table
from bench.rows.trees import PEERS, tuned
from tasks.distillation.options import Student
from tests.unit.problems.tabular.labelled.homes import CLASSES, VALUE, YES_NO, dataset, problem


def records(out: Path, errors: dict[str, tuple[float, list[float]]]) -> None:
    """One workload's files: a way's validation error, and its test errors by seed."""
    for way, (valid, tests) in errors.items():
        for seed, test in enumerate(tests):
            write(place_of(out, "price", way, seed), {"valid": valid, "test": test})


def test_ways_are_compared_with_the_alpha_that_validation_chose(tmp_path: Path) -> None:
    fixed = {way: (1.0 + place, [10.0 * (place + 1)] * 3) for place, way in enumerate(reversed(list(FIXED)))}
    records(tmp_path, {**fixed, "gap": (0.1, [9.0, 9.1, 8.9]), "learned": (0.1, [9.0, 11.0, 10.0])})
    lines = table(tmp_path, "price")
    assert len(lines) == 6 and all("alpha 0.9" in line for line in lines), "the least validation error, not test error"
    found = {line.split(" | ")[1]: line for line in lines}
    half = 4.303 * 0.01 / np.sqrt(3)
    assert f"0.9000 | {0.9 - half:.4f} … {0.9 + half:.4f} | better" in found["gap"]
    assert "1.0000" in found["learned"] and "no difference shown" in found["learned"]
    assert "2.0000" in found["alpha 0.7"] and "worse" in found["alpha 0.7"]
    assert table(tmp_path, "churn") == []


def test_a_way_trains_the_student_and_tells_both_errors() -> None:
    rows, built = dataset(), problem()
    everything = np.arange(len(rows.groups))
    training = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}
    student = Student.model_validate({"model": {"kind": "mlp", "hidden": [4]}, "training": training, "alpha": 0.5})
    world = World(built, rows, student, built.naive(rows, everything))
    found = {way: world.measure(way, 0) for way in ("alpha 0.5", *ADAPTED, "twin")}
    assert all(record["valid"] > 0 and record["test"] > 0 and record["epochs"] == 1 for record in found.values())
    assert len({record["test"] for record in found.values()}) == 5, "each way learns something else"
    assert found["gap"]["test"] == world.measure("gap", 0)["test"] and 0 < found["learned"]["alpha"] < 1


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("options", [VALUE, YES_NO, CLASSES, VALUE | {"metric": "rmsle", "weight": "weigh"}])
def test_trees_are_tuned_on_the_rows_of_the_workload(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "TREES", 60)
    rows, built = dataset(options), problem(options)
    found = tuned(built, rows, *PEERS[name], trials=2, seed=0)
    test = rows.splits["test"]
    naive = built.score(built.naive(rows, test), rows.target(test)).error
    assert found["test"] < 0.9 * naive


def test_the_table_has_medians_over_seeds() -> None:
    same = {"naive": 2.0, "teacher": 1.0, "twin": 1.2, "student": 1.1, "bytes": 9, "parameters": 3}
    nights = [{**same, "released": value} for value in (1.0, 1.5, 1.1)]
    found = line("churn", "log_loss", {"night": nights, "lightgbm": [{"test": 1.0}], "catboost": [{"test": 2.0}]})
    assert found == "| churn | log_loss | 2 | 1 | 1.2 | 1.1 | 1.1 | 1 | 2 | 1.100 | 0.550 | 9 | 3 |"
