"""Factoring loses nothing of a matrix that has the rank, and is left alone where it would store more."""

from typing import Any

import pytest
import torch
from torch import nn

from tasks.compression.low_rank import LowRank
from tasks.core.errors import ConfigError
from tasks.problems.blocks.factored import Factored, factored, principal_directions


def with_values(*values: float) -> torch.Tensor:
    """A (6, 8) matrix with these singular values."""
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    product: torch.Tensor = left[:, : len(values)] * torch.tensor(values).double() @ right[: len(values)]
    return product.float()


def test_a_layer_of_rank_two_is_recovered_without_loss(network: Any, tuner: Any, calibration: Any) -> None:
    torch.manual_seed(5)
    with torch.no_grad():
        network.hidden.weight.copy_(torch.randn(32, 2) @ torch.randn(2, 40))
    x = torch.rand(20, 40)
    before, bias = network(x), network.hidden.bias.clone()
    LowRank(energy=0.9999, epochs=0).apply(network, tuner, calibration)
    assert isinstance(network.hidden, Factored) and (network.hidden.in_features, network.hidden.out_features) == (
        40,
        32,
    )
    assert network.hidden.first.weight.shape == (2, 40) and network.hidden.second.weight.shape == (32, 2)
    assert torch.allclose(network.hidden.second.bias, bias, atol=1e-5), "nothing is left to make up for"
    assert [name for name, _ in network.hidden.first.named_parameters()] == ["weight"]
    assert torch.allclose(network(x), before, atol=1e-5)
    assert type(network.skip) is nn.Linear, "its six singular values are alike, so it would grow"


def test_the_rank_is_the_smallest_that_keeps_the_energy() -> None:
    layer, squares = nn.Linear(8, 6), torch.tensor([16.0, 9, 4, 1, 0, 0])
    for energy, rank in ((0.5, 1), (0.54, 2), (0.83, 2), (0.84, 3), (0.96, 3), (0.97, 4)):
        assert LowRank(energy=energy).rank(layer, squares) == rank
    assert LowRank(energy=0.5).rank(layer, torch.zeros(6)) <= 6


def test_the_rank_is_the_largest_within_the_budget() -> None:
    layer = nn.Linear(40, 32)  # 1280 weights, 72 a rank
    for budget, rank in ((0.5, 8), (0.113, 2), (0.112, 1), (0.01, 1)):
        assert LowRank(budget=budget).rank(layer, torch.ones(32)) == rank


def test_what_the_rows_never_show_costs_nothing(network: Any, tuner: Any) -> None:
    """Weights of full rank, but inputs that move along three directions: a rank of three gives the same outputs."""
    torch.manual_seed(1)
    x = torch.randn(200, 3) @ torch.randn(3, 40)
    before = network(x)
    LowRank(energy=1 - 1e-9, epochs=0).apply(network, tuner, lambda count: {"x": x.numpy()})
    assert isinstance(network.hidden, Factored) and network.hidden.first.out_features == 3
    assert isinstance(network.skip, Factored) and network.skip.first.out_features == 3
    assert torch.allclose(network(x), before, atol=1e-4)


def test_what_is_put_out_for_every_row_is_left_to_the_bias(network: Any, tuner: Any) -> None:
    """Far from zero, and moving along one direction: one is enough, also for a layer that had no bias."""
    torch.manual_seed(4)
    x = 5 + torch.randn(40) + torch.randn(200, 1) @ torch.randn(1, 40)
    before = network.hidden(x), network.skip(x)
    LowRank(energy=0.999, epochs=0).apply(network, tuner, lambda count: {"x": x.numpy()})
    assert isinstance(network.hidden, Factored) and network.hidden.first.out_features == 1
    assert isinstance(network.skip, Factored) and network.skip.first.out_features == 1
    assert network.skip.second.bias is not None
    assert torch.allclose(network.hidden(x), before[0], atol=1e-4)
    assert torch.allclose(network.skip(x), before[1], atol=1e-4)


def test_directions_are_those_of_the_outputs_not_of_the_weights() -> None:
    """The weights say that the first output is the stronger one; its input hardly ever moves."""
    weight = torch.tensor([[3.0, 0], [0, 1]]).double()
    by_weights, strengths = principal_directions(weight)
    assert by_weights[:, 0].abs().tolist() == pytest.approx([1, 0]) and strengths.tolist() == pytest.approx([9, 1])
    inputs = torch.tensor([[0.1, 2], [0.1, -2]])
    by_outputs, squares = principal_directions(weight, inputs)
    assert by_outputs[:, 0].abs().tolist() == pytest.approx([0, 1]) and squares.tolist() == pytest.approx([4, 0.09])


def test_what_is_cut_is_the_smallest_singular_value() -> None:
    layer = nn.Linear(8, 6)
    with torch.no_grad():
        layer.weight.copy_(with_values(4, 3, 2, 1))
    pair = factored(layer, 3)
    difference = pair.second.weight @ pair.first.weight - layer.weight
    assert float(torch.linalg.matrix_norm(difference.detach(), 2)) == pytest.approx(1, abs=1e-5)


def test_fine_tuning_trains_the_factors_only_if_there_are_any(network: Any, tuner: Any, calibration: Any) -> None:
    LowRank(energy=0.999999).apply(network, tuner, calibration)
    assert tuner.calls == [] and isinstance(network.hidden, nn.Linear), "of full rank nothing can be saved"
    LowRank(budget=0.4, epochs=2).apply(network, tuner, calibration)
    assert tuner.calls == [(2, 0.3)] and isinstance(network.hidden, Factored)
    assert sum(weight.numel() for weight in network.hidden.parameters()) <= 0.4 * 1280 + 32


def test_a_model_without_linear_layers_is_a_configuration_error(tuner: Any, calibration: Any) -> None:
    with pytest.raises(ConfigError, match="step low-rank: model Softmax has no linear layer to factor; drop the step"):
        LowRank(energy=0.5).apply(nn.Softmax(dim=1), tuner, calibration)
