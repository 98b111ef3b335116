"""Scoring uses the released bytes, contract and parameters, verified."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from tasks.config import Run, Spec, load_workload
from tasks.errors import DataError, IntegrityError, UsageError
from tasks.problems.base import Column, FeatureContract, Predict, TableContract
from tasks.releases import scoring

PROJECT = Path(__file__).parents[3]
DAY = date(2026, 1, 1)
TABLE = pl.DataFrame({"x": np.arange(5000, dtype=np.float32)})


def times(factor: float) -> bytes:
    """ONNX bytes of output = x * factor."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["output"])],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


class Identity:
    """A problem whose features are its table."""

    def table(self) -> TableContract:
        return TableContract(columns=(Column("x", "number"),), date="x", target="x", entity=())

    def predict(self, table: pl.LazyFrame, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        frame = table.collect()
        assert contract.inputs == {"x": ("float32", (1,))} and as_of == DAY
        inputs = {"x": frame["x"].to_numpy()[:, None], "unknown to the model": np.zeros(frame.height)}
        return frame.with_columns(y=model(inputs)[:, 0])


@pytest.fixture
def scored(releases: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def problem(spec: Spec) -> Identity:
        assert spec.kind == "forecasting" and spec.options["horizon"] == 28
        return Identity()

    monkeypatch.setattr(scoring, "get_problem", problem)
    section = dict(load_workload(PROJECT / "params.yaml", "sales"))
    run = Run(**section, workload="sales", as_of=DAY, champion=0)
    contract = (
        b'{"problem": "forecasting", "inputs": {"x": ["float32", [1]]}, "order": ["x"], "output_shape": [1],'
        b' "categories": {}, "statistics": {}, "settings": {}}'
    )
    for number, factor in enumerate((2.0, 3.0)):
        files = {"model.onnx": times(factor), "contract.json": contract, "run.yaml": run.to_yaml().encode()}
        releases.publish(files, expected=number, run_id=f"r{number}", as_of=DAY, reason="better")
    return releases


def test_the_champion_scores(scored: Any) -> None:
    result = scoring.score(scored, "sales", TABLE, DAY)
    assert result["y"].to_list() == [3.0 * value for value in range(5000)]


def test_another_release_scores(scored: Any) -> None:
    assert scoring.score(scored, "sales", TABLE, DAY, release=1)["y"][1] == 2.0
    with pytest.raises(UsageError, match="no release 3"):
        scoring.score(scored, "sales", TABLE, DAY, release=3)
    scored.rollback(1, "bad")
    assert scoring.score(scored, "sales", TABLE, DAY)["y"][1] == 2.0


def test_changed_bytes_do_not_score(scored: Any, folder: Path) -> None:
    (folder / scored.champion().files / "model.onnx").write_bytes(times(4.0))
    with pytest.raises(IntegrityError, match=r"model.onnx: .* bytes with SHA-256"):
        scoring.score(scored, "sales", TABLE, DAY)


def test_a_table_that_breaks_the_contract_does_not_score(scored: Any) -> None:
    with pytest.raises(DataError, match="x: column exists: observed missing; the table has: y"):
        scoring.score(scored, "sales", TABLE.rename({"x": "y"}), DAY)
