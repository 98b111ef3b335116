"""What products are given, on graphs whose values are known."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tasks.compression import product_inputs
from tasks.compression.product_inputs import mean_squares

X = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
FIRST = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
SECOND = np.array([[1, -1], [2, 0], [0, 3]], np.float32)


def graph(
    *nodes: onnx.NodeProto, shape: tuple[int | str, ...] = ("n", 3), **matrices: NDArray[np.float32]
) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in matrices.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def squares(rows: NDArray[np.float32]) -> NDArray[np.floating]:
    flat = rows.reshape(-1, rows.shape[-1])
    return flat.T @ flat / len(flat)


def test_inputs_of_the_graph_and_values_within_it() -> None:
    model = graph(
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "second"], ["output"], transB=1),
        first=FIRST,
        second=SECOND,
    )
    before = model.SerializeToString()
    found = mean_squares(model, {"x": X, "unread": X})
    assert set(found) == {"first", "second"} and model.SerializeToString() == before
    np.testing.assert_allclose(found["first"], squares(X))
    np.testing.assert_allclose(found["second"], squares(np.maximum(X @ FIRST, 0)))


def test_all_rows_of_all_batches_and_all_steps_count() -> None:
    rows = np.random.default_rng(0).standard_normal((600, 5, 3)).astype(np.float32)
    model = graph(helper.make_node("MatMul", ["x", "first"], ["output"]), shape=("n", 5, 3), first=FIRST)
    np.testing.assert_allclose(mean_squares(model, {"x": rows})["first"], squares(rows), rtol=1e-4)


def test_a_matrix_of_two_products_is_given_what_both_are() -> None:
    model = graph(
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("Abs", ["x"], ["z"]),
        helper.make_node("MatMul", ["y", "first"], ["a"]),
        helper.make_node("MatMul", ["z", "first"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["output"]),
        first=FIRST,
    )
    np.testing.assert_allclose(mean_squares(model, {"x": X})["first"], (squares(X) + squares(np.abs(X))) / 2)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "first"], ["output"], transA=1),
        helper.make_node("MatMul", ["first", "x"], ["output"]),
        helper.make_node("Add", ["x", "first"], ["output"]),
    ],
)
def test_what_is_no_product_of_rows_with_a_matrix_is_left_out(node: onnx.NodeProto) -> None:
    assert mean_squares(graph(node, shape=(3, 2), first=FIRST), {"x": X[:3, :2]}) == {}


def test_a_network_that_has_diverged_is_left_to_the_gates() -> None:
    broken = graph(
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Gemm", ["h", "second"], ["output"], transB=1),
        first=np.where(FIRST > 0, np.float32(np.inf), FIRST),
        second=SECOND,
    )
    assert set(mean_squares(broken, {"x": X})) == {"first"}


def test_a_matrix_so_wide_that_the_squares_would_fill_the_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_inputs, "WIDEST", 2)
    model = graph(
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Gemm", ["h", "second"], ["output"], transB=1),
        first=FIRST,
        second=SECOND,
    )
    assert set(mean_squares(model, {"x": X})) == {"second"}, "it has two inputs, the first three"


def test_a_matrix_that_is_read_in_two_ways_is_left_out() -> None:
    square = np.ones((3, 3), np.float32)
    model = graph(
        helper.make_node("Gemm", ["x", "m"], ["h"], transB=1),
        helper.make_node("MatMul", ["h", "m"], ["output"]),
        m=square,
    )
    assert mean_squares(model, {"x": X}) == {}
