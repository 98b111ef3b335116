"""Narrower weights of known matrices: how far they may be off, what they take, and that only the file is narrower."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.bitmask import Bitmask
from tasks.compression.fp16 import Fp16
from tasks.compression.integer_weights import IR_OF_INT4, Int4Weights, Int8Weights, IntegerWeights, output_axes
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.runtime import run_onnx
from tasks.compression.step import GraphStep
from tasks.problems.base import Floats, Inputs

INPUTS, OUTPUTS = 100, 20
RANDOM = np.random.default_rng(0)
WEIGHT = (RANDOM.standard_normal((INPUTS, OUTPUTS)) * np.linspace(0.01, 3, OUTPUTS)).astype(np.float32)
BIAS = RANDOM.standard_normal(OUTPUTS).astype(np.float32)
HALF = np.where(RANDOM.random(WEIGHT.shape) < 0.5, np.float32(0), WEIGHT)


def layer(kind: str, weight: Floats = WEIGHT) -> onnx.ModelProto:
    """x (n, INPUTS) -> x @ weight (+ bias), as MatMul, or as Gemm with the weight turned or not."""
    tensors: dict[str, NDArray[np.float32]] = {"w": weight.T.copy() if kind == "turned" else weight}
    if kind == "MatMul":
        node = helper.make_node("MatMul", ["x", "w"], ["output"])
    else:
        node = helper.make_node("Gemm", ["x", "w", "b"], ["output"], transB=int(kind == "turned"))
        tensors["b"] = BIAS
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", INPUTS])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", OUTPUTS])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def units(_: int) -> Inputs:
    """Rows that show every weight by itself."""
    return {"x": np.eye(INPUTS, dtype=np.float32)}


def no_rows(_: int) -> Inputs:
    raise AssertionError("weights alone are narrowed")


def stored(step: GraphStep, kind: str = "MatMul", weight: Floats = WEIGHT) -> bytes:
    return to_bytes(step.apply(layer(kind, weight), units if isinstance(step, IntegerWeights) else no_rows))


def seen(data: bytes, kind: str = "MatMul") -> Floats:
    """The weight that a file computes with: what it makes of the unit vectors, (INPUTS, OUTPUTS)."""
    output = run_onnx(data, {"x": np.eye(INPUTS, dtype=np.float32)})
    return output if kind == "MatMul" else output - BIAS


def kernels(data: bytes, folder: Path) -> list[str]:
    """The operators that ONNX Runtime is left with after loading."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


STEPS: dict[str, GraphStep] = {
    "int8-weights": Int8Weights(),
    "int4-weights": Int4Weights(),
    "bitmask": Bitmask(),
    "fp16": Fp16(),
}


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "turned"])
def test_eight_bits_are_off_by_half_a_level_of_the_neurons_own_scale(kind: str, tmp_path: Path) -> None:
    data = stored(Int8Weights(), kind)
    half = np.abs(WEIGHT).max(axis=0) / 127 / 2
    error = np.abs(seen(data, kind) - WEIGHT)
    assert (error <= half * 1.001 + 1e-6).all() and (error.max(axis=0) > 0.8 * half).all()
    assert len(data) < 0.4 * len(to_bytes(layer(kind)))
    assert kernels(data, tmp_path) == ["MatMul" if kind == "MatMul" else "Gemm"], "widened while loading"


def test_a_scale_belongs_to_an_output_of_whatever_reads_the_weight() -> None:
    graph = layer("turned").graph
    graph.node.append(helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"]))
    graph.node.append(helper.make_node("Conv", ["y", "kernel"], ["z"]))
    graph.node.append(helper.make_node("MatMul", ["z", "m"], ["output"]))
    assert output_axes(graph) == {"w": 0, "W": 1, "R": 1, "kernel": 0, "m": -1}


def test_eight_bits_hold_small_multiples_exactly_and_zero_as_zero() -> None:
    weight = RANDOM.integers(-127, 128, (INPUTS, OUTPUTS)).astype(np.float32)
    weight[0], weight[1], weight[:, 3] = 127, 0, 0
    np.testing.assert_array_equal(seen(stored(Int8Weights(), weight=weight)), weight)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "turned"])
def test_four_bits_are_off_by_half_a_level_but_for_the_largest(kind: str, tmp_path: Path) -> None:
    data = stored(Int4Weights(), kind)
    half = np.abs(WEIGHT).max(axis=0) / 7 / 2
    error = np.abs(seen(data, kind) - WEIGHT)
    assert (np.median(error, axis=0) <= 0.6 * half).all() and (error.max(axis=0) <= 6 * half).all()
    assert error.max() > 0.5 * half.max(), "equal numbers would mean that nothing was narrowed"
    assert len(data) < 0.21 * len(to_bytes(layer(kind)))
    assert kernels(data, tmp_path) == ["MatMul" if kind == "MatMul" else "Gemm"], "widened while loading"
    model = onnx.load_model_from_string(data)
    assert model.ir_version >= IR_OF_INT4 and [item.version for item in model.opset_import] == [21]


@pytest.mark.parametrize(("inputs", "outputs"), [(INPUTS, OUTPUTS), (9, 9)])
def test_four_bits_hold_small_multiples_exactly_and_zero_as_zero(inputs: int, outputs: int) -> None:
    """An odd number of weights leaves half a byte over."""
    weight = RANDOM.integers(-7, 8, (inputs, outputs)).astype(np.float32)
    weight[0], weight[1], weight[:, 3] = 7, 0, 0
    model, each = layer("MatMul", weight), {"x": np.eye(inputs, dtype=np.float32)}
    for item, width in ((model.graph.input[0], inputs), (model.graph.output[0], outputs)):
        item.CopyFrom(helper.make_tensor_value_info(item.name, TensorProto.FLOAT, ["batch", width]))
    narrow = Int4Weights(min_elements=1).apply(model, lambda _: each)
    assert TensorProto.INT4 in {item.data_type for item in narrow.graph.initializer}
    np.testing.assert_array_equal(run_onnx(to_bytes(narrow), each), weight)


def test_rows_decide_how_weights_are_rounded() -> None:
    """Inputs that are all alike: what counts is the sum of an output's weights, and that is kept to half a level."""
    alike = RANDOM.standard_normal((500, 1)).astype(np.float32).repeat(INPUTS, axis=1)
    for step, largest in ((Int4Weights(samples=300), 7), (Int8Weights(samples=300), 127)):
        asked: list[int] = []

        def rows(count: int, asked: list[int] = asked) -> Inputs:
            asked.append(count)
            return {"x": alike[:count]}

        by_rows = seen(to_bytes(step.apply(layer("MatMul"), rows)))
        off, plain = (np.abs((found - WEIGHT).sum(axis=0)) for found in (by_rows, seen(stored(step))))
        assert (off < 0.51 * np.abs(WEIGHT).max(axis=0) / largest + 1e-5).all() and asked == [300]
        assert off.sum() < 0.15 * plain.sum()


def test_what_no_product_reads_stays_at_eight_bits_beside_four() -> None:
    model = layer("MatMul")
    table = RANDOM.standard_normal((30, INPUTS)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    model.graph.node[0].input[0] = "row"
    model.graph.node.insert(0, helper.make_node("Gather", ["table", "x"], ["row"]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"]))
    narrow = Int4Weights().apply(model, lambda _: {"x": np.arange(30)})
    kinds = {tuple(item.dims): item.data_type for item in narrow.graph.initializer}
    assert kinds[(30, INPUTS)] == TensorProto.INT8 and kinds[(INPUTS, OUTPUTS)] == TensorProto.INT4


@pytest.mark.parametrize("step", [Int4Weights(), Int8Weights()])
def test_a_weight_that_two_products_share_is_narrowed_for_both(step: GraphStep) -> None:
    model = layer("MatMul")
    model.graph.node[0].output[0] = "once"
    twice = helper.make_node("MatMul", ["x", "w"], ["twice"])
    model.graph.node.extend([twice, helper.make_node("Add", ["once", "twice"], ["output"])])
    data = to_bytes(step.apply(model, units))
    assert len(data) < len(stored(step)) + 250, "stored once"
    np.testing.assert_allclose(seen(data), 2 * seen(stored(step)), rtol=1e-5)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "turned"])
def test_pruned_weights_take_one_bit_and_nothing_changes(kind: str, tmp_path: Path) -> None:
    data = stored(Bitmask(), kind, HALF)
    kept = int(np.count_nonzero(HALF))
    assert len(data) < HALF.size / 8 + 4 * kept + 800
    assert len(data) < 0.7 * len(to_bytes(layer(kind, HALF)))
    plain = run_onnx(to_bytes(layer(kind, HALF)), {"x": np.eye(INPUTS, dtype=np.float32)})
    np.testing.assert_array_equal(run_onnx(data, {"x": np.eye(INPUTS, dtype=np.float32)}), plain)
    assert kernels(data, tmp_path) == ["MatMul" if kind == "MatMul" else "Gemm"], "put together while loading"


@pytest.mark.parametrize("step", [Int8Weights(), Fp16()])
def test_narrow_numbers_are_packed_too(step: GraphStep, tmp_path: Path) -> None:
    narrow = stored(step, weight=HALF)
    packed = to_bytes(Bitmask().apply(onnx.load_model_from_string(narrow), no_rows))
    assert len(packed) < len(narrow) - 200
    np.testing.assert_array_equal(seen(packed), seen(narrow))
    assert kernels(packed, tmp_path) == ["MatMul"]


def test_dense_and_small_tensors_are_not_packed() -> None:
    assert stored(Bitmask()) == to_bytes(layer("MatMul"))
    assert stored(Bitmask(min_elements=WEIGHT.size + 1), weight=HALF) == to_bytes(layer("MatMul", HALF))


@pytest.mark.parametrize("name", STEPS)
def test_equal_weights_give_equal_bytes(name: str) -> None:
    assert stored(STEPS[name], "turned", HALF) == stored(STEPS[name], "turned", HALF)


@pytest.mark.parametrize("name", ["int8-weights", "int4-weights", "fp16"])
def test_weights_that_are_not_finite_stay_as_they_are(name: str) -> None:
    weight = WEIGHT.copy()
    weight[0, 0] = -np.inf
    found = onnx.load_model_from_string(stored(STEPS[name], weight=weight)).graph
    assert found == onnx.load_model_from_string(to_bytes(layer("MatMul", weight))).graph
