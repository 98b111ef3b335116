"""Every forecasting model as ONNX bytes: equal to torch at any batch size."""

import onnx
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.int8 import Int8Static
from tasks.compression.runtime import run_onnx
from tests.unit.models.windows import CONTRACT, SMALL, contract_of, inputs_of, model_of

VARIANTS = [(kind, "scale", False) for kind in SMALL]
VARIANTS += [(kind, normalise, True) for kind in ("lstm", "linear-mlp", "patch") for normalise in ("standard", "last")]


@pytest.mark.parametrize(("kind", "normalise", "mean"), VARIANTS)
def test_the_exported_file_gives_what_torch_gives(kind: str, normalise: str, mean: bool) -> None:
    contract = contract_of(context=16, horizon=9, normalise=normalise, mean=mean, positive=not mean)
    model = model_of(kind, contract)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    tensors = inputs_of(7, contract)
    tensors[0][:3, 5:, :2] = 0
    tensors[0][3, :, :2] = 0
    inputs = {name: tensor.numpy() for name, tensor in zip(contract.inputs, tensors, strict=True)}
    data = export_onnx(model, contract, {name: values[:2] for name, values in inputs.items()})
    with torch.no_grad():
        expected = model(*tensors)
    for rows in (1, 7):
        found = torch.from_numpy(run_onnx(data, {name: values[:rows] for name, values in inputs.items()}))
        torch.testing.assert_close(found, expected[:rows], rtol=1e-4, atol=1e-4)


def test_the_students_graph_stays_small() -> None:
    """At batch 1 its nodes are what costs time."""
    inputs = {name: tensor.numpy() for name, tensor in zip(CONTRACT.inputs, inputs_of(2), strict=True)}
    graph = onnx.load_model_from_string(export_onnx(model_of("linear-mlp"), CONTRACT, inputs)).graph
    assert len(graph.node) <= 25


def test_eight_bits_leave_the_scale_of_small_series_as_it_is() -> None:
    history, future, static = inputs_of(64)
    history[::2, :, 0] *= 1000
    inputs = {name: tensor.numpy() for name, tensor in zip(CONTRACT.inputs, (history, future, static), strict=True)}
    model = model_of("linear-mlp")
    data = export_onnx(model, CONTRACT, inputs)
    quantized = Int8Static(samples=64).apply(onnx.load_model_from_string(data), lambda _: inputs)
    with torch.no_grad():
        expected = model(history, future, static)[1::2, :, 1]
    found = torch.from_numpy(run_onnx(quantized.SerializeToString(), inputs))[1::2, :, 1]
    assert (found - expected).abs().mean() < 0.03 * expected.mean()
