"""A shop whose two releases are known: one forecasts by weekday, the other reads a column that tells the target."""

import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import yaml
from onnx import TensorProto, helper

from tasks.config.run import Run
from tasks.config.workload import Workload, load_workload
from tasks.core.settings import Settings
from tasks.gates.comparison import compare
from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.result import rounded
from tasks.problems import get_problem
from tasks.problems.contracts import contract_to_json
from tasks.releases.ledger import Entry
from tasks.releases.store import ReleaseStore
from tasks.scoring.night import keep_forecasts
from tasks.scoring.raw import Raw

PROJECT = Path(__file__).parents[3]
START = date(2026, 6, 1)
HORIZON = 7
SERIES = 12
PROBLEM = {
    "kind": "forecasting",
    "horizon": HORIZON,
    "context": 28,
    "season": 7,
    "quantiles": [0.1, 0.5, 0.9],
    "static": ["region"],
    "covariates": {"stock": {"known": "ahead", "low": 0}},
    "stride": 7,
}


def everything() -> pl.DataFrame:
    """All days: a weekly rhythm with noise; `stock` is what was sold, as the warehouse books it afterwards."""
    rng = np.random.default_rng(5)
    days = [START + timedelta(days=offset) for offset in range(-150, 60)]
    rhythm = np.array([10, 8, 8, 9, 14, 25, 20])[[day.weekday() for day in days]]
    shared = np.exp(0.1 * rng.standard_normal(len(days)))
    frames = []
    for number in range(SERIES):
        units = rng.poisson(rhythm * shared * (1 + number / 4)).astype(float)
        frames.append(
            pl.DataFrame(
                {
                    "date": days,
                    "series_id": f"s{number:02d}",
                    "region": "north" if number % 2 else "south",
                    "units": units,
                    "stock": np.round(units * np.exp(0.05 * rng.standard_normal(len(days))), 1),
                    "holiday": False,
                }
            )
        )
    return pl.concat(frames).sort("series_id", "date")


def model(output: str, nodes: Sequence[onnx.NodeProto], inputs: dict[str, list[int]], **constants: np.ndarray) -> bytes:
    """ONNX bytes of a small graph."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", HORIZON, 4])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = made.SerializeToString()
    return data


BAND = np.array([[[0.7, 1.0, 1.3, 1.0]]], np.float32)


def by_weekday(scale: float = 1.0) -> bytes:
    """The mean of the same weekday in the last four weeks, times a number."""
    nodes = [
        helper.make_node("Reshape", ["units", "shape"], ["weeks"]),
        helper.make_node("ReduceMean", ["weeks", "axis"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["wide"]),
        helper.make_node("Mul", ["wide", "band"], ["output"]),
    ]
    shape, axis, last = (np.array(value, np.int64) for value in ([-1, 4, 7], [1], [2]))
    return model("output", nodes, {"units": [28]}, shape=shape, axis=axis, last=last, band=BAND * np.float32(scale))


def by_leak() -> bytes:
    """The column that tells the target, as it is."""
    nodes = [
        helper.make_node("Gather", ["future", "first"], ["stock"], axis=2),
        helper.make_node("Mul", ["stock", "band"], ["output"]),
    ]
    return model("output", nodes, {"future": [HORIZON, 3]}, first=np.array([0], np.int64), band=BAND)


class Shop:
    """A workload's ledger, forecasts and table, evening by evening."""

    def __init__(self, root: Path, **watch: Any) -> None:
        self.settings = Settings(home=root, project=root)
        section = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"]["sales"]
        section |= {
            "source": {"kind": "table", "path": "sales.parquet", "until_as_of": True},
            "problem": PROBLEM,
            "watch": {"days": 14, **watch},
        }
        section["gates"]["segments"]["by"] = ["region"]
        (root / "params.yaml").write_text(yaml.safe_dump({"workloads": {"sales": section}}))
        self.section: Workload = load_workload(root / "params.yaml", "sales")
        self.releases = ReleaseStore(self.settings.releases(), "sales")
        self.rows = everything()

    def table(self, as_of: date) -> pl.DataFrame:
        """The table of an evening: nothing was sold yet of what lies ahead, and stock is what somebody guessed."""
        known = pl.col("date") <= as_of
        return self.rows.filter(pl.col("date") <= as_of + timedelta(days=HORIZON)).with_columns(
            units=pl.when(known).then(pl.col("units")),
            stock=pl.when(known).then(pl.col("stock")).otherwise(pl.col("units").mean().over("series_id").round()),
        )

    def raw(self, as_of: date) -> Raw:
        return Raw({"series": self.table(as_of)}, as_of)

    def release(self, content: bytes, as_of: date) -> Entry:
        """Promote a model with what the gates measured of it, whatever that was."""
        problem = get_problem(self.section.problem)
        dataset = problem.features({"series": self.table(as_of).lazy()}, as_of)
        evaluation = EvaluationSet(problem, dataset)
        score, naive = evaluation.score(evaluation.run(content)), evaluation.score(evaluation.naive())
        found = compare(score, naive, evaluation.clusters, confidence=0.95, resamples=200, seed=1)
        verdict = {"comparison": {"naive": {"high": rounded(found.high), "error": rounded(naive.error)}}}
        run = Run(**self.section.model_dump(), workload="sales", as_of=as_of, champion=0)
        last = self.releases.champion()
        return self.releases.publish(
            {
                "model.onnx": content,
                "contract.json": json.dumps(contract_to_json(dataset.contract)).encode(),
                "run.yaml": run.to_yaml().encode(),
                "verdict.json": json.dumps(verdict).encode(),
            },
            expected=last.seq if last else 0,
            run_id=f"night-{as_of}",
            as_of=as_of,
            reason=f"{found}",
        )

    def forecast(self, as_of: date) -> None:
        keep_forecasts(self.settings, "sales", lambda: self.raw(as_of))
