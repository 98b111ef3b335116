"""Tensors that follow a rule: what the runtime makes of the rule are the very numbers, and others are left alone."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.export import OPSET
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.regular import as_rule
from tasks.compression.runtime import run_onnx
from tasks.compression.weights import narrow_weights

FOLLOW: dict[str, NDArray[Any]] = {
    "ones": np.ones((90, 1), np.float32),
    "zeros": np.zeros((3, 40), np.float32),
    "a third": np.full(100, 1 / 3, np.float32),
    "codes": np.full((2, 30), -7, np.int64),
    "counted": np.arange(1.0, 97, dtype=np.float32),
    "counted down by twos": np.arange(100, -60, -2, dtype=np.float32),
    "places": np.arange(5, 200, 3),
}
OTHERS: dict[str, NDArray[Any]] = {
    "one odd": np.append(np.ones(90), 2).astype(np.float32),
    "tenths": np.linspace(0, 9, 91, dtype=np.float32),
    "counted in rows": np.arange(80, dtype=np.float32).reshape(8, 10),
    "counted, then not": np.append(np.arange(90), 91).astype(np.float32),
    "half precision": np.ones(200, np.float16),
    "too few to be worth it": np.ones(4, np.float32),
    "minus infinity and zero": np.tile(np.array([-np.inf, 0], np.float32), 45),
    "not a number": np.full(90, np.nan, np.float32),
}


def graph_with(values: NDArray[Any]) -> onnx.ModelProto:
    """output = input + the stored values in a row."""
    nodes = [
        helper.make_node("Cast", ["stored"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["wide", "flat"], ["row"]),
        helper.make_node("Add", ["input", "row"], ["output"]),
    ]
    stored = [numpy_helper.from_array(values, "stored"), numpy_helper.from_array(np.array([1, -1]), "flat")]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", values.size]) for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, "model", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("name", FOLLOW)
def test_a_rule_gives_the_same_numbers_in_fewer_bytes(name: str) -> None:
    values = FOLLOW[name]
    model = graph_with(values)
    whole = to_bytes(model)
    narrow_weights(model.graph, as_rule)
    short = to_bytes(model)
    assert len(short) < len(whole) and operators(model) & {"ConstantOfShape", "Range"}
    given = {"input": np.zeros((3, values.size), np.float32)}
    assert np.array_equal(run_onnx(short, given), np.tile(values.ravel().astype(np.float32), (3, 1)))


@pytest.mark.parametrize("name", OTHERS)
def test_other_numbers_stay_as_they_are(name: str) -> None:
    model = graph_with(OTHERS[name])
    before = model.SerializeToString()
    narrow_weights(model.graph, as_rule)
    assert model.SerializeToString() == before
