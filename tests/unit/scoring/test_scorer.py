"""Scoring uses the released bytes, contract and parameters, verified."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.core.errors import DataError, IntegrityError, UsageError
from tasks.problems.base import FeatureContract, Predict
from tasks.scoring import tables as scoring
from tasks.scoring.scorer import Scorer, to_parquet
from tasks.tables.table import Column, TableContract, Tables
from tests.tamper import put

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


SPARED = -77.0


class Identity:
    """A problem whose features are its table."""

    def tables(self) -> tuple[TableContract, ...]:
        return (TableContract(columns=(Column("x", "number"),), date="x", target="x", entity=("x",)),)

    def recent(self, tables: Tables, as_of: date, contract: FeatureContract) -> Tables:
        return {"table": tables["table"].filter(pl.col("x") >= 10)}

    def spared(self, tables: dict[str, pl.DataFrame], contract: FeatureContract) -> dict[str, pl.DataFrame]:
        return {"table": tables["table"].filter(pl.col("x") != SPARED)}

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        frame = tables["table"].collect()
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
    result = Scorer(scored, "sales").score({"table": TABLE}, DAY)
    assert result["y"].to_list() == [3.0 * value for value in range(5000)]


def test_another_release_scores(scored: Any) -> None:
    assert Scorer(scored, "sales", 1).score({"table": TABLE}, DAY)["y"][1] == 2.0
    with pytest.raises(UsageError, match="no release 3"):
        Scorer(scored, "sales", 3).score({"table": TABLE}, DAY)
    scored.rollback(1, "bad")
    assert Scorer(scored, "sales").score({"table": TABLE}, DAY)["y"][1] == 2.0


def test_changed_bytes_do_not_score(scored: Any, folder: Path) -> None:
    put(folder / scored.champion().files / "model.onnx", times(4.0))
    with pytest.raises(IntegrityError, match=r"model.onnx: .* bytes with SHA-256"):
        Scorer(scored, "sales").score({"table": TABLE}, DAY)


def publish(releases: Any, model: bytes) -> int:
    """A release with the files of the champion and another model. Returns its number."""
    before = releases.champion()
    files = {name: releases.read(before, name) for name in ("contract.json", "run.yaml")}
    made = releases.publish(
        {**files, "model.onnx": model}, expected=before.seq, run_id=f"r{before.seq}", as_of=DAY, reason="better"
    )
    return int(made.release)


def test_a_model_that_reads_another_file_does_not_score(scored: Any, tmp_path: Path, monkeypatch: Any) -> None:
    model = onnx.load_model_from_string(times(5.0))
    factor = model.graph.initializer[0]
    factor.ClearField("float_data")
    factor.data_location = TensorProto.EXTERNAL
    factor.external_data.add(key="location", value="factor.bin")
    monkeypatch.chdir(tmp_path)
    Path("factor.bin").write_bytes(np.array([5.0], np.float32).tobytes())
    for data, said in ((model.SerializeToString(), "its weights lie in another file"), (b"what", "no ONNX file")):
        number = publish(scored, data)
        with pytest.raises(IntegrityError, match=rf"sales release {number}: cannot be loaded: .*{said}"):
            Scorer(scored, "sales")


def test_predictions_that_are_not_finite_are_no_result(scored: Any) -> None:
    publish(scored, times(3e38))
    with pytest.raises(DataError, match=r"2 predictions are not finite, the first: x 2\.0, y inf"):
        Scorer(scored, "sales").score({"table": pl.DataFrame({"x": np.array([1, 2, 3], np.float32)})}, DAY)


def test_a_table_that_breaks_the_contract_does_not_score(scored: Any) -> None:
    with pytest.raises(DataError, match="x: column exists: observed missing; the table has: y"):
        Scorer(scored, "sales").score({"table": TABLE.rename({"x": "y"})}, DAY)


@pytest.mark.parametrize(("rows", "parts"), [(10_000, 1), (1_500, 4)])
def test_a_table_scored_in_parts_gives_what_it_gives_at_once(scored: Any, rows: int, parts: int) -> None:
    scorer = Scorer(scored, "sales")
    found = list(scorer.stream({"table": TABLE.lazy()}, DAY, 4 * rows))
    assert len(found) == parts
    assert max(part.height for part in found) < 1.2 * rows
    assert pl.concat(found).sort("x").equals(scorer.score({"table": TABLE.filter(pl.col("x") >= 10)}, DAY))


def test_parts_are_written_as_one_file(scored: Any) -> None:
    content, rows = to_parquet(Scorer(scored, "sales").stream({"table": TABLE.lazy()}, DAY, 6_000))
    assert rows == 4990
    assert pl.read_parquet(content)["y"].sort().to_list() == [3.0 * value for value in range(10, 5000)]


def test_the_file_has_the_types_and_the_very_values_of_all_parts() -> None:
    forecasts = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
    parts = [
        pl.DataFrame(
            {
                "date": [DAY, DAY],
                "series_id": pl.Series([f"{shop}-1", f"{shop}-2"], dtype=pl.Categorical),
                "shop": pl.Series([shop, shop], dtype=pl.Categorical),
                "p50": forecasts[place : place + 2, 0],
                "p90": forecasts[place : place + 2, 1],
            }
        )
        for place, shop in ((0, "b"), (2, "a"), (4, "b"))
    ]
    content, rows = to_parquet(iter(parts))
    found = pl.read_parquet(content)
    assert rows == 6 and found.schema == parts[0].schema
    assert found.equals(pl.concat(parts))
    assert found["series_id"].to_list() == ["b-1", "b-2", "a-1", "a-2", "b-1", "b-2"]


def test_a_table_without_rows_in_reach_is_refused(scored: Any) -> None:
    with pytest.raises(DataError, match="table: no rows that a prediction on 2026-01-01 could be made from"):
        list(Scorer(scored, "sales").stream({"table": TABLE.head(5).lazy()}, DAY))


def test_every_part_must_keep_the_contract(scored: Any) -> None:
    spoilt = TABLE.with_columns(x=pl.when(pl.col("x") == 4000).then(float("nan")).otherwise("x"))
    with pytest.raises(DataError, match="x: no NaN or infinity"):
        list(Scorer(scored, "sales").stream({"table": spoilt.lazy()}, DAY, 6_000))


def test_a_night_leaves_out_what_the_problem_spares(scored: Any) -> None:
    found = Scorer(scored, "sales").score({"table": pl.DataFrame({"x": [1.0, SPARED, 2.0]}, {"x": pl.Float32})}, DAY)
    assert found["x"].to_list() == [1.0, 2.0]
