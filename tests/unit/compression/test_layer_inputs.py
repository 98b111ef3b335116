"""What layers are given is seen in every student, also where a sum takes a layer's weights without calling it."""

import pytest
import torch
from torch import nn

from tasks.compression.layer_inputs import layer_inputs, linear_layers
from tasks.problems.blocks.inputs import inputs_of
from tests.unit.problems.forecasting.models.windows import SMALL, forecast, model_of, windows_of


@pytest.mark.parametrize("kind", SMALL)
def test_every_layer_of_every_model_is_seen_at_work(kind: str) -> None:
    model, windows = model_of(kind), windows_of(16)
    rows = {name: windows[name].numpy() for name in inputs_of(model, windows)}
    before, layers = forecast(model, windows), linear_layers(model)
    seen = layer_inputs(layers, model, rows)
    assert seen.keys() == layers.keys()
    for name, given in seen.items():
        assert given.shape[1] == layers[name].in_features and len(given) >= 16, name
        assert given.abs().sum() > 0, name
    assert linear_layers(model) == layers and torch.equal(forecast(model, windows), before)


def test_what_is_seen_is_what_the_layer_multiplies() -> None:
    model, windows = model_of("linear-mlp"), windows_of(16)
    rows = {name: windows[name].numpy() for name in inputs_of(model, windows)}
    (skip,) = (layer for name, layer in linear_layers(model).items() if name == "skip")
    units = layer_inputs({"skip": skip}, model, rows)["skip"]
    scale = (windows["units"].sum(1, keepdim=True) + 1) / (14 + 1)
    assert torch.allclose(units, windows["units"] / scale, rtol=1e-4)


def test_a_layer_that_is_never_called_has_seen_nothing() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.used(x)
            return result

    model = Idle()
    seen = layer_inputs(linear_layers(model), model, {"x": torch.ones(4, 3).numpy()})
    assert torch.equal(seen["used"], torch.ones(4, 3)) and torch.equal(seen["idle"], torch.zeros(1, 5))
