"""A finished graph holds what computing needs, once, under short names, and computes the same."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tasks.compression.onnx_graph import strip, to_bytes
from tasks.compression.runtime import run_onnx

X = np.random.default_rng(0).random((5, 3), dtype=np.float32)


def graph_of(*nodes: onnx.NodeProto, **tensors: NDArray[np.generic]) -> onnx.ModelProto:
    """x (n, 3) -> output (n, 3)."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    sets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=9)


def redundant() -> onnx.ModelProto:
    """relu(x @ eye) + 2 * eye's first row, with a dead branch, an unread tensor and a second copy of eye."""
    eye = np.eye(3, dtype=np.float32)
    return graph_of(
        helper.make_node("Gemm", ["x", "a.long.name", ""], ["product"], "gemm", alpha=1.0, beta=1.0, transB=1),
        helper.make_node("Identity", ["product"], ["same"], "same"),
        helper.make_node("Identity", ["same"], ["again"], "again"),
        helper.make_node("Relu", ["again"], ["relu"], "relu"),
        helper.make_node("Gemm", ["relu", "another.long.name"], ["output"], "gemm2", alpha=2.0),
        helper.make_node("Exp", ["relu"], ["dead"], "dead"),
        **{"a.long.name": eye, "another.long.name": eye, "unread": np.ones(1000, np.float32)},
    )


def test_what_is_redundant_goes_and_the_answers_stay() -> None:
    model = redundant()
    before, size = run_onnx(model.SerializeToString(), {"x": X}), model.ByteSize()
    data = to_bytes(model)
    graph = model.graph
    assert len(data) < size - 4000
    assert [(node.op_type, list(node.input), list(node.output)) for node in graph.node] == [
        ("Gemm", ["x", "n0"], ["n1"]),
        ("Relu", ["n1"], ["n2"]),
        ("Gemm", ["n2", "n0"], ["output"]),
    ]
    assert [[attribute.name for attribute in node.attribute] for node in graph.node] == [["transB"], [], ["alpha"]]
    assert [tensor.name for tensor in graph.initializer] == ["n0"]
    assert [item.domain for item in model.opset_import] == [""]
    np.testing.assert_array_equal(run_onnx(data, {"x": X}), before)
    np.testing.assert_allclose(before, 2 * X)


def test_stripping_twice_changes_nothing_more() -> None:
    model = redundant()
    assert to_bytes(model) == to_bytes(model)


def test_short_names_avoid_those_of_inputs() -> None:
    model = graph_of(
        helper.make_node("Add", ["x", "w"], ["s"]), helper.make_node("Relu", ["s"], ["output"]), w=np.ones(3, "f4")
    )
    model.graph.input[0].name = model.graph.node[0].input[0] = "n0"
    strip(model)
    assert [list(node.input) + list(node.output) for node in model.graph.node] == [["n0", "n1", "n2"], ["n2", "output"]]
    np.testing.assert_allclose(run_onnx(to_bytes(model), {"n0": X}), X + 1)


def test_graphs_within_graphs_keep_their_names() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["outer"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    chosen = helper.make_node("If", ["yes"], ["output"], then_branch=branch, else_branch=branch)
    model = graph_of(helper.make_node("Neg", ["x"], ["outer"]), chosen, yes=np.array(True))
    assert [attribute.type for attribute in model.graph.node[1].attribute] == [AttributeProto.GRAPH] * 2
    np.testing.assert_allclose(run_onnx(to_bytes(model), {"x": X}), -X)


def test_a_graph_that_reads_what_nobody_gives_is_refused() -> None:
    with pytest.raises(onnx.checker.ValidationError):
        to_bytes(graph_of(helper.make_node("Add", ["x", "missing"], ["output"])))
