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
from tasks.compression.int4 import Int4
from tasks.compression.int8_weights import Int8Weights, output_axes
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.runtime import run_onnx
from tasks.compression.step import GraphStep
from tasks.errors import ConfigError
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


def no_rows(_: int) -> Inputs:
    raise AssertionError("weights alone are narrowed")


def stored(step: GraphStep, kind: str = "MatMul", weight: Floats = WEIGHT) -> bytes:
    return to_bytes(step.apply(layer(kind, weight), no_rows))


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
    "int4": Int4(),
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
@pytest.mark.parametrize("block", [16, 32])
def test_four_bits_are_off_by_less_than_a_level_of_the_blocks_own_range(kind: str, block: int) -> None:
    data = stored(Int4.model_validate({"block_size": block}), kind)
    padded = np.pad(WEIGHT, ((0, -INPUTS % block), (0, 0))).reshape(-1, block, OUTPUTS)
    level = (padded.max(axis=1).clip(min=0) - padded.min(axis=1).clip(max=0)) / 15
    error = np.abs(np.pad(seen(data, kind) - WEIGHT, ((0, -INPUTS % block), (0, 0)))).reshape(padded.shape)
    assert (error <= level[:, None] * 1.01).all()
    assert error.max() > 0.3 * level.max(), "equal numbers would mean that nothing was narrowed"
    assert len(data) < 0.35 * len(to_bytes(layer(kind)))
    operators = [node.op_type for node in onnx.load_model_from_string(data).graph.node]
    assert operators == (["MatMulNBits"] if kind == "MatMul" else ["MatMulNBits", "Add"])


def test_smaller_blocks_are_nearer_and_larger() -> None:
    fine, coarse = (stored(Int4.model_validate({"block_size": size})) for size in (16, 128))
    assert len(fine) > len(coarse)
    assert np.abs(seen(fine) - WEIGHT).mean() < np.abs(seen(coarse) - WEIGHT).mean()


def test_a_weight_that_two_products_share_is_narrowed_for_both() -> None:
    model = layer("MatMul")
    model.graph.node[0].output[0] = "once"
    twice = helper.make_node("MatMul", ["x", "w"], ["twice"])
    model.graph.node.extend([twice, helper.make_node("Add", ["once", "twice"], ["output"])])
    data = to_bytes(Int4().apply(model, no_rows))
    assert len(data) < len(stored(Int4())) + 250, "stored once"
    np.testing.assert_allclose(seen(data), 2 * seen(stored(Int4())), rtol=1e-5)


def test_four_bits_without_a_product_that_shrinks_are_a_configuration_error() -> None:
    small = layer("MatMul", np.ones((INPUTS, OUTPUTS), np.float32)[:, :OUTPUTS])
    del small.graph.initializer[:]
    small.graph.initializer.append(numpy_helper.from_array(np.ones((3, 3), np.float32), "w"))
    with pytest.raises(
        ConfigError, match="step int4: no matrix product of the graph gets smaller by it; drop the step"
    ):
        Int4().apply(small, no_rows)


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


@pytest.mark.parametrize("name", ["int8-weights", "fp16"])
def test_weights_that_are_not_finite_stay_as_they_are(name: str) -> None:
    weight = WEIGHT.copy()
    weight[0, 0] = -np.inf
    assert stored(STEPS[name], weight=weight) == to_bytes(layer("MatMul", weight))
