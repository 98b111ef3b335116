"""Every forecasting model as ONNX bytes: equal to torch at any batch size."""

import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tests.unit.models.windows import SMALL, contract_of, inputs_of, model_of

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
