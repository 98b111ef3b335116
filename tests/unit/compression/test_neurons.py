"""Neurons really leave the network, the useless ones first."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.compression.neurons import Neurons
from tasks.core.errors import ConfigError


def test_neurons_without_outgoing_weights_go_and_leave_the_output_as_it_was(
    network: Any, tuner: Any, calibration: Any
) -> None:
    with torch.no_grad():
        network.output.weight[:, ::2] = 0
    x = torch.rand(20, 40)
    before = network(x)
    kept = network.hidden.weight[1::2].clone()
    Neurons(keep=0.5, epochs=0).apply(network, tuner, calibration)
    assert torch.allclose(network(x), before, atol=1e-5)
    assert (network.hidden.out_features, network.output.in_features) == (16, 16)
    assert torch.equal(network.hidden.weight, kept)


def test_parameters_shrink_and_fine_tuning_runs(network: Any, tuner: Any, calibration: Any) -> None:
    before = sum(weight.numel() for weight in network.parameters())
    Neurons(keep=0.25, epochs=2, learning_rate_factor=0.1).apply(network, tuner, calibration)
    after = sum(weight.numel() for weight in network.parameters())
    assert (before, after) == (1750, 1750 - 24 * (40 + 1 + 6))
    assert tuner.calls == [(2, 0.1)]
    assert all(weight.requires_grad for weight in network.parameters())


def test_at_least_one_neuron_stays(network: Any, tuner: Any, calibration: Any) -> None:
    Neurons(keep=0.001, epochs=0).apply(network, tuner, calibration)
    assert network(torch.rand(2, 40)).shape == (2, 6)
    assert network.hidden.out_features == 1


def test_a_model_without_hidden_neurons_is_a_configuration_error(tuner: Any, calibration: Any) -> None:
    with pytest.raises(ConfigError, match="step neurons: model Linear has no hidden neurons to remove; drop the step"):
        Neurons(keep=0.5).apply(nn.Linear(3, 2), tuner, calibration)


def test_what_stays_takes_over_from_what_goes(network: Any, tuner: Any) -> None:
    """Sixteen neurons are copies of the others and of large weights; one is always one, which a bias can be."""
    torch.manual_seed(2)
    x = torch.rand(300, 40)
    with torch.no_grad():
        network.hidden.weight[16:] = 2 * network.hidden.weight[:16]
        network.hidden.bias[16:] = 2 * network.hidden.bias[:16]
        network.hidden.weight[0] = network.hidden.weight[16] = 0
        network.hidden.bias[0] = network.hidden.bias[16] = 1
        before = network(x)
    Neurons(keep=0.5, epochs=0).apply(network, tuner, lambda count: {"x": x.numpy()})
    with torch.no_grad():
        assert torch.allclose(network(x), before, atol=0.02 * float(before.std()))


def test_every_hidden_layer_loses_its_useless_neurons(tuner: Any) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.first, self.second, self.last = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.last(torch.relu(self.second(torch.relu(self.first(x)))))
            return result

        def prunable(self) -> Any:
            return [(self.first, self.second), (self.second, self.last)]

    deep = Deep()
    with torch.no_grad():
        deep.second.weight[:, [0, 3, 4, 7]] = 0
        deep.last.weight[:, [1, 2, 5]] = 0
    x = torch.rand(90, 5)
    before, kept = deep(x), deep.first.weight[[1, 2, 5, 6]].clone()
    Neurons(keep=0.5, epochs=0).apply(deep, tuner, lambda count: {"x": x.numpy()})
    assert [tuple(layer.weight.shape) for layer in (deep.first, deep.second, deep.last)] == [(4, 5), (3, 4), (2, 3)]
    assert torch.equal(deep.first.weight, kept)
    assert torch.allclose(deep(x), before, atol=1e-5)
