"""Int8 and half precision on the forecasting student: they load, are smaller, stay close; what strays is refused."""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from tasks.compression.export import export_onnx
from tasks.compression.fp16 import Fp16
from tasks.compression.int8 import Int8Dynamic, Int8Static
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.parity import parity
from tasks.compression.runtime import run_onnx
from tasks.compression.step import GraphStep
from tasks.core.config import Spec
from tasks.gates.options import ParityGate
from tasks.gates.parity import parity as parity_gate
from tasks.gates.result import GateResult
from tasks.problems.base import Batches, Floats, Inputs, Rows
from tasks.problems.blocks.outputs import outputs
from tasks.problems.forecasting.models.inputs import STUDENT_INPUTS
from tasks.problems.models import build_model

STEPS: dict[str, GraphStep] = {
    "int8-dynamic": Int8Dynamic(),
    "int8-static": Int8Static(samples=48),
    "fp16": Fp16(),
}


@pytest.fixture(scope="module")
def student(sales: Any) -> nn.Module:
    torch.manual_seed(2)
    model = build_model(Spec(kind="linear-mlp", hidden=48), sales.dataset.contract).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return model


@pytest.fixture(scope="module")
def plain(sales: Any, student: nn.Module) -> bytes:
    return export_onnx(student, sales.dataset.contract, sales.dataset.inputs(np.arange(2)))


def inputs_of(sales: Any, rows: Rows) -> Inputs:
    """Those that the student takes."""
    inputs: Inputs = sales.dataset.inputs(rows, STUDENT_INPUTS)
    return inputs


def narrowed(sales: Any, plain: bytes, step: GraphStep, calibration: Callable[[int], Inputs] | None = None) -> bytes:
    model = step.apply(
        onnx.load_model_from_string(plain), calibration or (lambda count: inputs_of(sales, np.arange(count)))
    )
    return to_bytes(model)


def kinds(data: bytes) -> set[int]:
    """Number formats of the stored weights that have at least 64 numbers."""
    tensors = onnx.load_model_from_string(data).graph.initializer
    return {tensor.data_type for tensor in tensors if np.prod(tensor.dims) >= 64}


def gate(name: str, data: bytes, relative: float | None) -> GateResult:
    about = {"sha256": hashlib.sha256(data).hexdigest(), "parity": {"relative": relative}}
    return parity_gate(name, data, about, ParityGate(tolerance=0.02))


@pytest.mark.parametrize(("name", "share"), [("int8-dynamic", 0.75), ("int8-static", 0.8), ("fp16", 0.7)])
@pytest.mark.parametrize("rows", [1, 7])
def test_narrower_numbers_load_shrink_and_stay_close(
    sales: Any, student: nn.Module, plain: bytes, name: str, share: float, rows: int
) -> None:
    data = narrowed(sales, plain, STEPS[name])
    assert len(data) < share * len(plain)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["units", "observed", "future", "static"]
    assert [item.type for item in session.get_outputs()] == ["tensor(float)"]
    inputs = sales.dataset.inputs(np.arange(70, 70 + rows))
    found = parity(run_onnx(data, inputs), outputs(student, Batches.of(inputs)))
    assert 0 < found.relative < 0.02, "equal numbers would mean that nothing was narrowed"
    assert gate(name, data, found.relative).passed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int8-dynamic", {TensorProto.UINT8}),
        ("int8-static", {TensorProto.UINT8}),
        ("fp16", {TensorProto.FLOAT16}),
    ],
)
def test_weights_are_stored_in_the_narrow_format(sales: Any, plain: bytes, name: str, expected: set[int]) -> None:
    assert kinds(plain) == {TensorProto.FLOAT}
    # Embeddings and biases are not part of a matrix product, but no larger than 64 numbers here.
    assert kinds(narrowed(sales, plain, STEPS[name])) == expected


def float_products(data: bytes) -> list[Floats]:
    """Stored matrices that a product reads as they are."""
    graph = onnx.load_model_from_string(data).graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    products = [node.input[1] for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    return [stored[name] for name in products if name in stored]


@pytest.mark.parametrize("name", ["int8-dynamic", "int8-static"])
def test_products_that_only_add_stay_in_float32(sales: Any, plain: bytes, name: str) -> None:
    """The sums of gaps, and the two means of a window's scale; every other product is of integers."""
    sums = np.eye(4, dtype=np.float32)  # the mean is no sum
    sums[:3, :3] = np.triu(np.ones((3, 3)))
    assert len(float_products(plain)) > 3
    found = float_products(narrowed(sales, plain, STEPS[name]))
    assert sorted(matrix.shape for matrix in found) == [(4, 4), (14, 1), (14, 1)]
    assert any(np.array_equal(matrix, sums) for matrix in found)
    model = onnx.load_model_from_string(plain)
    tensor = next(item for item in model.graph.initializer if list(item.dims) == [4, 4])
    assert np.array_equal(numpy_helper.to_array(tensor), sums)
    tensor.CopyFrom(numpy_helper.from_array(sums * np.float32(0.5), tensor.name))
    weighed = float_products(narrowed(sales, model.SerializeToString(), STEPS[name]))
    assert [matrix.shape for matrix in weighed] == [(14, 1), (14, 1)], "other weights are left out as well"


@pytest.mark.parametrize("name", STEPS)
def test_narrowing_twice_gives_equal_bytes_without_traces_of_the_machine(sales: Any, plain: bytes, name: str) -> None:
    data = narrowed(sales, plain, STEPS[name])
    assert narrowed(sales, plain, STEPS[name]) == data
    assert not [word for word in (b"/tmp", b"/home", b"nightstill-", b"torch", b".onnx") if word in data]


def test_ranges_come_from_as_many_training_rows_as_asked_for(sales: Any, plain: bytes) -> None:
    asked: list[int] = []

    def calibration(count: int) -> Inputs:
        asked.append(count)
        return inputs_of(sales, np.arange(count))

    narrowed(sales, plain, Int8Static(samples=30), calibration)
    assert asked == [30]
    narrowed(sales, plain, Int8Dynamic(), calibration)
    narrowed(sales, plain, Fp16(), calibration)
    assert asked == [30], "only static ranges need rows"


def test_rows_beyond_the_first_batch_count_for_the_ranges(sales: Any, plain: bytes) -> None:
    rows = np.arange(300) % 84
    inputs = inputs_of(sales, rows)
    wild = {**inputs, "future": inputs["future"].copy()}
    wild["future"][299] *= 50
    calm = narrowed(sales, plain, Int8Static(), lambda _: inputs)
    assert narrowed(sales, plain, Int8Static(), lambda _: wild) != calm


def test_one_scale_a_neuron_or_one_a_matrix(sales: Any, plain: bytes) -> None:
    def scales(step: GraphStep) -> list[int]:
        graph = onnx.load_model_from_string(narrowed(sales, plain, step)).graph
        scales = {node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
        scales |= {node.input[1] for node in graph.node if node.op_type == "Mul"}
        return [int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.name in scales]

    assert max(scales(Int8Dynamic())) == 48 and max(scales(Int8Dynamic(per_channel=False))) == 1
    assert max(scales(Int8Static(samples=9))) == 48 and max(scales(Int8Static(samples=9, per_channel=False))) == 1


def test_the_quantizers_advice_is_kept_quiet_only_while_it_works(
    sales: Any, plain: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    narrowed(sales, plain, Int8Dynamic())
    assert logging.getLogger().level == logging.INFO

    def broken(count: int) -> Inputs:
        assert not logging.getLogger("onnxruntime.quantization").isEnabledFor(logging.WARNING)
        raise RuntimeError("no rows")

    with pytest.raises(RuntimeError, match="no rows"):
        narrowed(sales, plain, Int8Static(), broken)
    assert logging.getLogger("onnxruntime.quantization").isEnabledFor(logging.INFO)
    assert not caplog.text


def test_small_tensors_stay_as_they_are_in_half_precision(sales: Any, plain: bytes) -> None:
    def halves(step: Fp16) -> set[int]:
        tensors = onnx.load_model_from_string(narrowed(sales, plain, step)).graph.initializer
        return {int(np.prod(item.dims)) for item in tensors if item.data_type == TensorProto.FLOAT16}

    # skip 14 x 20; hidden (14 + 1 + 12 + 30) x 48; output 48 x 20; the others have fewer than 100 numbers.
    assert halves(Fp16(min_elements=100)) == {280, 2736, 960}
    assert halves(Fp16(min_elements=1000)) == {2736}


def test_half_precision_keeps_values_to_three_digits(sales: Any, student: nn.Module, plain: bytes) -> None:
    tensors = onnx.load_model_from_string(narrowed(sales, plain, Fp16())).graph.initializer
    stored = next(numpy_helper.to_array(item) for item in tensors if sorted(item.dims) == [48, 57])
    weights = student.state_dict()["hidden.weight"].numpy()
    stored = stored if stored.shape == weights.shape else stored.T
    np.testing.assert_allclose(stored.astype(np.float32), weights, rtol=1e-3, atol=1e-6)
    assert not np.array_equal(stored.astype(np.float32), weights)


def test_a_file_with_a_changed_weight_is_refused_by_parity(sales: Any, student: nn.Module, plain: bytes) -> None:
    model = onnx.load_model_from_string(plain)
    tensor = next(item for item in model.graph.initializer if sorted(item.dims) == [48, 57])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.05), tensor.name))
    wrong = model.SerializeToString()
    inputs = sales.dataset.inputs(sales.dataset.splits["valid"])
    expected = outputs(student, Batches.of(inputs))
    good, bad = (parity(run_onnx(data, inputs), expected) for data in (plain, wrong))
    assert good.relative < 1e-6 and gate("fp32", plain, good.relative).passed
    result = gate("fp32", wrong, bad.relative)
    assert not result.passed and result.observed is not None and result.observed > 0.02


def test_ranges_of_rows_unlike_the_real_ones_are_refused_by_parity(
    sales: Any, student: nn.Module, plain: bytes
) -> None:
    def silent(count: int) -> Inputs:
        inputs = inputs_of(sales, np.arange(count))
        return {name: np.zeros_like(values) for name, values in inputs.items()}

    data = narrowed(sales, plain, Int8Static(samples=8), silent)
    inputs = sales.dataset.inputs(sales.dataset.splits["valid"])
    found = parity(run_onnx(data, inputs), outputs(student, Batches.of(inputs)))
    result = gate("int8-static", data, found.relative)
    assert not result.passed and result.observed is not None and result.observed > 0.02


def test_parity_of_infinite_or_missing_numbers_is_refused() -> None:
    expected = np.ones((2, 3), np.float32)
    broken = parity(np.array([[1, np.inf, 1], [1, 1, 1]], np.float32), expected)
    assert broken.to_json() == {"max_abs": None, "mean_abs": None, "relative": None}
    assert not gate("fp16", b"x", broken.to_json()["relative"]).passed
    silent = np.zeros((2, 3), np.float32)
    assert parity(silent, silent).to_json() == {"max_abs": 0.0, "mean_abs": 0.0, "relative": 0.0}
    assert parity(expected, silent).to_json() == {"max_abs": 1.0, "mean_abs": 1.0, "relative": None}
