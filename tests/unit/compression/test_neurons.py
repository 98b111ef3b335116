"""Neurons really leave the network, the useless ones first."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.compression.neurons import Neurons
from tasks.errors import ConfigError


def test_neurons_without_outgoing_weights_go_and_leave_the_output_as_it_was(network: Any, tuner: Any) -> None:
    with torch.no_grad():
        network.output.weight[:, ::2] = 0
    x = torch.rand(20, 40)
    before = network(x)
    kept = network.hidden.weight[1::2].clone()
    Neurons(keep=0.5, epochs=0).apply(network, tuner)
    torch.testing.assert_close(network(x), before)
    assert (network.hidden.out_features, network.output.in_features) == (16, 16)
    assert torch.equal(network.hidden.weight, kept)


def test_parameters_shrink_and_fine_tuning_runs(network: Any, tuner: Any) -> None:
    before = sum(weight.numel() for weight in network.parameters())
    Neurons(keep=0.25, epochs=2, learning_rate_factor=0.1).apply(network, tuner)
    after = sum(weight.numel() for weight in network.parameters())
    assert (before, after) == (1750, 1750 - 24 * (40 + 1 + 6))
    assert tuner.calls == [(2, 0.1)]
    assert all(weight.requires_grad for weight in network.parameters())


def test_at_least_one_neuron_stays(network: Any, tuner: Any) -> None:
    Neurons(keep=0.001, epochs=0).apply(network, tuner)
    assert network(torch.rand(2, 40)).shape == (2, 6)
    assert network.hidden.out_features == 1


def test_a_model_without_hidden_neurons_is_a_configuration_error(tuner: Any) -> None:
    with pytest.raises(ConfigError, match="step neurons: model Linear has no hidden neurons to remove; drop the step"):
        Neurons(keep=0.5).apply(nn.Linear(3, 2), tuner)
