"""Training with the rounding: an integer file with the trained scales, which says what torch says."""

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from tasks.compression.chain import parse_chain
from tasks.compression.magnitude import prunable_weights
from tasks.compression.options import Recipe
from tasks.compression.qat import Int8Linear, Int8Qat, TrainedLinear
from tasks.compression.recipe import Compressed, compress
from tasks.compression.rounded import affine, best_range, rounded
from tasks.compression.runtime import run_onnx
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches, Floats
from tasks.problems.blocks.outputs import outputs

SPARSE = {"kind": "magnitude", "sparsity": 0.5, "epochs": 1}
QAT = {"kind": "int8-qat", "epochs": 1, "samples": 64}


class Towards:
    """Stands in for fine-tuning with a teacher: gradient steps towards the teacher's answers."""

    def __init__(self, inputs: torch.Tensor, teacher: torch.Tensor) -> None:
        self.inputs, self.teacher = inputs, teacher

    def __call__(self, model: nn.Module, epochs: int, learning_rate_factor: float, after_step: Any = None) -> int:
        weights = list(model.parameters())
        for step in range(100 * epochs):
            loss = (model(self.inputs) - self.teacher).square().mean()
            with torch.no_grad():
                for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight.sub_(0.005 * learning_rate_factor * (1 - step / (100 * epochs)) * gradient.sign())
            if after_step:
                after_step(model)
        return epochs


@pytest.fixture
def result(network: Any, contract: Any, rows: Any, error: Any, calibration: Any, tuner: Any) -> Any:
    def run(*steps: dict[str, object]) -> Compressed:
        chain = parse_chain("qat", Recipe.model_validate({"steps": steps}))
        return compress(copy.deepcopy(network), chain, contract, Batches.of(rows), error, calibration, tuner, rounds=0)

    return run


def test_levels_are_those_of_a_hand_computed_range() -> None:
    scale, zero = affine(torch.tensor(-1.0), torch.tensor(4.1))
    assert (float(scale), float(zero)) == pytest.approx((0.02, 50))
    values = torch.tensor([-2.0, -1.0, 0.0, 0.029, 0.031, 4.1, 9.0])
    expected = [-1.0, -1.0, 0.0, 0.02, 0.04, 4.1, 4.1]
    assert rounded(values, torch.tensor(-1.0), torch.tensor(4.1)).tolist() == pytest.approx(expected)


def test_gradients_pass_the_rounding_and_stop_outside_the_range() -> None:
    values = torch.tensor([-3.0, 0.5, 9.0], requires_grad=True)
    high = torch.tensor(4.1, requires_grad=True)
    torch.autograd.backward(rounded(values, torch.tensor(-1.0), high).sum())
    assert values.grad is not None and values.grad.tolist() == pytest.approx([0, 1, 0], abs=1e-5)
    assert high.grad is not None and float(high.grad) > 0.7, "what is cut off above asks for a larger range"


def test_a_range_starts_where_the_squared_error_is_least() -> None:
    low, high = best_range(torch.linspace(-1, 1, 1001))
    assert (float(low), float(high)) == (-1, 1), "nothing to gain from cutting"
    low, high = best_range(torch.cat([torch.linspace(-1, 1, 100_000), torch.tensor([3.0])]))
    assert float(low) == -1 and 1 <= float(high) < 3, "one value far out is cut off"
    assert [float(end) for end in best_range(torch.zeros(3))] == [0, 0]


def test_the_graph_is_integer_with_the_trained_scales(
    network: Any, tuner: Any, calibration: Any, contract: Any
) -> None:
    from tasks.compression.export import export_onnx

    float_file = export_onnx(network, contract, calibration(2))
    Int8Qat(epochs=2, samples=64).apply(network, tuner, calibration)
    assert tuner.calls == [(2, 0.3)]
    graph = onnx.load_model_from_string(data := export_onnx(network, contract, calibration(2))).graph
    assert len(data) < 0.47 * len(float_file)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scales = [float(stored[node.input[1]]) for node in graph.node if node.op_type == "QuantizeLinear"]
    layers = [module for module in network.modules() if isinstance(module, Int8Linear)]
    assert len(layers) == 3 and sorted(scales) == sorted(float(layer.scale) for layer in layers)
    wide = {
        tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    assert not wide, "no matrix is left in float32"
    narrow = [array for array in stored.values() if array.ndim == 2]
    assert {array.dtype for array in narrow} == {np.dtype(np.uint8)} and len(narrow) == 3
    assert [array.shape for array in stored.values() if array.dtype == np.int32] == [(32,), (6,)]
    hidden = network.hidden
    products = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    gemm = next(node for node in graph.node if node.op_type == "Gemm")
    weight = products[gemm.input[1]]
    np.testing.assert_array_equal(stored[weight.input[0]], hidden.weight_levels.numpy())
    np.testing.assert_array_equal(stored[weight.input[1]], hidden.weight_scale.numpy())
    expected = outputs(network, Batches.of(calibration(300)))
    np.testing.assert_allclose(run_onnx(data, calibration(300)), expected, atol=2e-3 * np.abs(expected).max())


def test_a_pruned_neuron_keeps_its_bias(network: Any, calibration: Any) -> None:
    with torch.no_grad():
        network.hidden.weight[3] = 0
        network.hidden.bias[3] = 0.7
        network.output.weight[:, 3] = 5
    expected = outputs(network, Batches.of(calibration(300)))
    Int8Qat(epochs=1).apply(network, lambda *_, **__: 0, calibration)
    assert network.hidden.bias[3].item() == pytest.approx(0.7, rel=1e-6)
    assert np.abs(outputs(network, Batches.of(calibration(300))) - expected).mean() < 0.02 * np.abs(expected).mean()


def test_scales_move_in_training(network: Any, calibration: Any) -> None:
    inputs = torch.from_numpy(calibration(300)["x"])
    before = best_range(inputs)
    Int8Qat(epochs=1, learning_rate_factor=1).apply(network, Towards(inputs, torch.zeros(300, 6)), calibration)
    assert float(network.hidden.scale) != pytest.approx(float(affine(*before)[0]), rel=1e-3)


def test_torch_and_file_agree_and_bytes_are_equal_twice(result: Any) -> None:
    first, second = result(QAT), result(QAT)
    assert first.model == second.model
    assert first.parity.relative < 2e-3
    assert first.parameters == 1750, "the ranges are no weights"


def test_pruned_weights_stay_zero_through_training_and_in_the_file(result: Any) -> None:
    found = result(SPARSE, QAT)
    assert found.parameters - found.nonzero >= 856
    assert [item.step for item in found.history] == ["student", "magnitude", "int8-qat"]
    graph = onnx.load_model_from_string(found.model).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zeros = 0
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and stored.get(node.input[0], np.zeros(0)).ndim == 2:
            levels, zero = stored[node.input[0]].astype(int), stored[node.input[2]]
            axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
            zeros += int((levels == (zero[:, None] if axis == 0 else zero)).sum())
    assert zeros >= 856


def test_it_beats_fixed_ranges_where_an_outlier_stretches_them(
    network: Any, contract: Any, rows: Any, calibration: Any
) -> None:
    teacher = outputs(network, Batches.of(rows))
    wild = {"x": rows["x"].copy()}
    wild["x"][0, 0] = 300.0

    def error(output: Floats) -> float:
        return float(np.abs(output - teacher).mean())

    tune = Towards(torch.from_numpy(rows["x"]), torch.from_numpy(teacher))

    def of(kind: str, **options: object) -> float:
        chain = parse_chain(kind, Recipe.model_validate({"steps": [{"kind": kind, **options}]}))
        model = copy.deepcopy(network)
        return (
            compress(model, chain, contract, Batches.of(rows), error, lambda _: wild, tune, rounds=0).history[-1].error
        )

    assert of("int8-qat", epochs=2, learning_rate_factor=1.0) < 0.5 * of("int8-static")


def test_layers_that_are_called_with_sequences_and_those_never_called() -> None:
    class Days(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.project, self.unused = nn.Linear(4, 3), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.project(x)
            return result

    from tasks.compression.export import export_onnx
    from tasks.problems.base import FeatureContract

    model = Days()
    rows = {"x": np.random.default_rng(0).standard_normal((50, 7, 4), dtype=np.float32)}
    expected = outputs(model, Batches.of(rows))
    Int8Qat(epochs=1).apply(model, lambda *_, **__: 0, lambda _: rows)
    data = export_onnx(model, FeatureContract("plane", {"x": ("float32", (7, 4))}, (7, 3)), rows)
    assert [node.op_type for node in onnx.load_model_from_string(data).graph.node].count("MatMul") == 1
    np.testing.assert_allclose(run_onnx(data, rows), outputs(model, Batches.of(rows)), atol=1e-4)
    np.testing.assert_allclose(run_onnx(data, rows), expected, atol=0.03)


def test_a_trained_layer_shares_its_weights(network: Any) -> None:
    layer = TrainedLinear(network.hidden, torch.tensor(0.0), torch.tensor(1.0))
    assert layer.weight is network.hidden.weight and layer.bias is network.hidden.bias
    assert list(prunable_weights(nn.ModuleDict({"hidden": layer}))) == ["hidden.weight"]


def test_a_model_without_linear_layers_is_a_configuration_error(tuner: Any, calibration: Any) -> None:
    with pytest.raises(
        ConfigError, match="step int8-qat: model Softmax has no linear layer to quantize; drop the step"
    ):
        Int8Qat().apply(nn.Softmax(dim=1), tuner, calibration)
