"""Every forecasting model as ONNX bytes: equal to torch at any batch size."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.int8 import Int8Dynamic, Int8Static
from tasks.compression.runtime import run_onnx
from tasks.compression.step import GraphStep
from tasks.problems.blocks.factored import factored
from tasks.problems.blocks.inputs import inputs_of
from tests.unit.problems.forecasting.models.windows import CONTRACT, SMALL, contract_of, forecast, model_of, windows_of

CENTRED = ("lstm", "linear-mlp", "patch", "match")
VARIANTS: list[tuple[str, str, bool, dict[str, Any]]] = [(kind, "scale", False, {}) for kind in SMALL]
VARIANTS += [(kind, normalise, True, {}) for kind in CENTRED for normalise in ("standard", "last")]
VARIANTS += [(kind, "scale", False, {"past": True}) for kind in ("linear", "linear-mlp", "patch", "rnn")]


@pytest.mark.parametrize(("kind", "normalise", "mean", "options"), VARIANTS)
def test_the_exported_file_gives_what_torch_gives(
    kind: str, normalise: str, mean: bool, options: dict[str, Any]
) -> None:
    contract = contract_of(context=16, horizon=9, normalise=normalise, mean=mean, positive=not mean)
    model = model_of(kind, contract, **options)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    windows = windows_of(7, contract)
    for name in ("units", "observed"):
        windows[name][:3, 5:] = 0
        windows[name][3] = 0
    inputs = {name: tensor.numpy() for name, tensor in windows.items()}
    data = export_onnx(model, contract, {name: values[:2] for name, values in inputs.items()})
    with torch.no_grad():
        expected = forecast(model, windows)
    for rows in (1, 7):
        found = torch.from_numpy(run_onnx(data, {name: values[:rows] for name, values in inputs.items()}))
        torch.testing.assert_close(found, expected[:rows], rtol=1e-4, atol=1e-4)


def test_the_students_graph_stays_small() -> None:
    """At batch 1 its nodes are what costs time."""
    inputs = {name: tensor.numpy() for name, tensor in windows_of(2).items()}
    graph = onnx.load_model_from_string(export_onnx(model_of("linear-mlp"), CONTRACT, inputs)).graph
    assert len(graph.node) <= 25


@pytest.mark.parametrize("normalise", ["scale", "standard", "last"])
def test_a_window_is_summed_up_and_numbered_without_a_stored_number_for_each_step(normalise: str) -> None:
    contract = contract_of(context=700, season=350, normalise=normalise)
    inputs = {name: tensor.numpy() for name, tensor in windows_of(2, contract).items()}
    data = export_onnx(model_of("patch", contract, smooth=False, embedding=1), contract, inputs)
    stored = onnx.load_model_from_string(data).graph.initializer
    assert 300 < max(np.prod(tensor.dims, initial=1) for tensor in stored) < 700


@pytest.mark.parametrize("kind", SMALL)
def test_a_file_asks_for_the_inputs_that_its_model_takes_and_for_no_other(kind: str) -> None:
    model, windows = model_of(kind), {name: tensor.numpy() for name, tensor in windows_of(2).items()}
    taken = list(inputs_of(model, CONTRACT.inputs))
    data = export_onnx(model, CONTRACT, {name: windows[name] for name in taken})
    graph = onnx.load_model_from_string(data).graph
    assert [value.name for value in graph.input] == taken
    assert set(taken) <= {name for node in graph.node for name in node.input}, "an input that no node reads"
    assert np.array_equal(run_onnx(data, windows), run_onnx(data, {name: windows[name] for name in taken}))


@pytest.mark.parametrize("step", [Int8Static(samples=64), Int8Dynamic()], ids=lambda step: step.kind)
@pytest.mark.parametrize("horizon", [5, 6])
def test_eight_bits_leave_the_scale_of_small_series_as_it_is(step: GraphStep, horizon: int) -> None:
    contract = contract_of(horizon=horizon)
    windows = windows_of(64, contract)
    windows["units"][::2] *= 1000
    model = model_of("linear-mlp", contract)
    inputs = {name: windows[name].numpy() for name in inputs_of(model, windows)}
    data = export_onnx(model, contract, inputs)
    quantized = step.apply(onnx.load_model_from_string(data), lambda _: inputs)
    with torch.no_grad():
        expected = forecast(model, windows)[1::2, :, 1]
    found = torch.from_numpy(run_onnx(quantized.SerializeToString(), inputs))[1::2, :, 1]
    assert (found - expected).abs().mean() < 0.03 * expected.mean()


def test_a_student_with_factored_layers_gives_what_the_product_of_the_factors_gives() -> None:
    """Every layer that the head adds up, in two parts of full rank: the same forecasts, in torch and as a file."""
    windows = windows_of(4)
    model = model_of("linear-mlp")
    with torch.no_grad():
        expected = forecast(model, windows)
        for name in ("skip", "output", "hidden"):
            layer = model.get_submodule(name)
            assert isinstance(layer, torch.nn.Linear)
            model.set_submodule(name, factored(layer, min(layer.weight.shape)))
        torch.testing.assert_close(forecast(model, windows), expected, rtol=1e-4, atol=1e-4)
    inputs = {name: tensor.numpy() for name, tensor in windows.items()}
    data = export_onnx(model, CONTRACT, inputs)
    torch.testing.assert_close(torch.from_numpy(run_onnx(data, inputs)), expected, rtol=1e-4, atol=1e-4)
    operators = [node.op_type for node in onnx.load_model_from_string(data).graph.node]
    assert operators.count("Add") == 0, "the sums ride on the products"
