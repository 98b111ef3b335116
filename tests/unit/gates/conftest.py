"""A small linear problem with ONNX models of known quality."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tasks.gates.evaluation_set import EvaluationSet
from tasks.gates.gate import Candidate
from tasks.gates.options import Gates
from tasks.problems.base import (
    Dataset,
    Example,
    FeatureContract,
    Floats,
    HardRows,
    Inputs,
    Predict,
    Problem,
    Rows,
    Score,
)
from tasks.tables.table import TableContract, Tables

TRUTH = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]], dtype=np.float32)


class Plane(Dataset):
    """200 rows of 20 shops; target = x @ TRUTH + 10."""

    def __init__(self) -> None:
        random = np.random.default_rng(1)
        self.contract = FeatureContract("plane", {"x": ("float32", (3,))}, (2,), {"shop": ("a", "b")})
        self.splits = {"test": np.arange(200, dtype=np.int64)}
        self.groups = np.repeat(np.arange(20), 10)
        self.segments = {"region": np.where(self.groups < 18, "north", "south")}
        self.x = random.random((200, 3), dtype=np.float32)

    def inputs(self, rows: Rows, names: Any = ()) -> Inputs:
        return {"x": self.x[rows]}

    def target(self, rows: Rows) -> NDArray[Any]:
        return self.x[rows] @ TRUTH + 10

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class PlaneProblem(Problem):
    """Relative absolute error; disturbance `noise` adds N(0, level)."""

    kind = "plane"
    primary_metric = "wape"

    def __init__(self, options: Mapping[str, Any]) -> None: ...

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        return np.full((len(rows), 2), 10, dtype=np.float32)

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        loss = np.abs(output - target).sum(axis=1, dtype=np.float64)
        return Score(
            loss,
            np.abs(target).sum(axis=1, dtype=np.float64),
            {"rmse": float(np.sqrt(np.mean((output - target) ** 2))), "pinball": float(loss.sum() / target.sum() / 2)},
        )

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        mean: Floats = np.mean(list(outputs), axis=0)
        return mean

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        noise = np.random.default_rng(seed).normal(0, level, inputs["x"].shape)
        return {"x": (inputs["x"] + noise).astype(np.float32)}

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        curves = {name: tuple(float(value) for value in output[0]) for name, output in outputs.items()}
        return [Example("first", ("a", "b"), (), tuple(dataset.target(rows)[0].tolist()), curves)]

    def tables(self) -> tuple[TableContract, ...]:
        raise NotImplementedError

    def draft_contract(self) -> FeatureContract:
        raise NotImplementedError

    def features(self, tables: Tables, as_of: date) -> Dataset:
        raise NotImplementedError

    def load(self, folder: Path) -> Dataset:
        return Plane()

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        raise NotImplementedError

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        raise NotImplementedError


def linear_onnx(bias: float = 10.0, *, weights: NDArray[Any] = TRUTH, layers: int = 0) -> bytes:
    """output = x @ weights + bias; `layers` of useless 2048-wide products before it."""
    nodes, tensors, name = [], [numpy_helper.from_array(weights, "weights")], "x"
    if layers:
        wide = np.zeros((3, 2048), np.float32)
        back = np.zeros((2048, 3), np.float32)
        wide[:, :3] = back[:3] = np.eye(3)
        tensors += [numpy_helper.from_array(wide, "wide"), numpy_helper.from_array(back, "back")]
        for layer in range(layers):
            nodes.append(helper.make_node("MatMul", [name, "wide"], [f"wide{layer}"]))
            nodes.append(helper.make_node("MatMul", [f"wide{layer}", "back"], [f"back{layer}"]))
            name = f"back{layer}"
    tensors.append(numpy_helper.from_array(np.full(weights.shape[1], bias, np.float32), "bias"))
    nodes += [
        helper.make_node("MatMul", [name, "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


MakeCandidate = Callable[..., Candidate]


@pytest.fixture
def make_onnx() -> Callable[..., bytes]:
    return linear_onnx


@pytest.fixture
def make_candidate() -> MakeCandidate:
    def make(name: str = "good", model: bytes | None = None, **about: Any) -> Candidate:
        data = linear_onnx(10.01) if model is None else model
        parity = {"max_abs": 0.0, "mean_abs": 0.0, "relative": 0.001}
        facts = {"valid_error": 0.1, "sha256": hashlib.sha256(data).hexdigest(), "parity": parity, "parameters": 8}
        return Candidate(name, data, {**facts, **about})

    return make


@pytest.fixture
def evaluation() -> EvaluationSet:
    return EvaluationSet(PlaneProblem({}), Plane())


@pytest.fixture
def gates() -> Gates:
    return Gates.model_validate(
        {
            "accuracy": {
                "limit": 0.05,
                "naive_margin": 0.1,
                "retention": 1.05,
                "champion_margin": 0.02,
                "max_gain": 1,
                "resamples": 200,
            },
            "segments": {"by": ["region"], "limit": 0.1, "min_rows": 20},
            "size": {"max_bytes": 10_000},
            "latency": {"batch": 1, "threads": 1, "rounds": 10, "max_p50_ratio": 50, "max_p95_ratio": 100},
            "parity": {"tolerance": 0.01},
            "robustness": [{"kind": "noise", "level": 0.001, "limit": 2.0}],
        }
    )
