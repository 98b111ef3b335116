"""Rounding by what comes out: weights make up for each other where their inputs move together."""

import pytest
import torch

from tasks.compression.rounding import round_weights


def squares_of(rows: torch.Tensor) -> torch.Tensor:
    return rows.T @ rows / len(rows)


def test_without_inputs_every_weight_goes_to_its_nearest_level() -> None:
    weight = torch.tensor([[7.0, 0.7], [0.4, 0.26], [0.6, -0.24], [-3.2, 0.0]]).double()
    levels, scales = round_weights(weight, None, 7)
    assert levels.tolist() == [[7, 7], [0, 3], [1, -2], [-3, 0]]
    assert scales.tolist() == pytest.approx([1, 0.1])


def test_inputs_that_are_alike_share_what_is_rounded() -> None:
    """Four weights of 0.4 with the same input are 1.6 of it: two levels of 1, where the nearest levels have none."""
    weight = torch.tensor([[7.0], [0.4], [0.4], [0.4], [0.4]]).double()
    torch.manual_seed(0)
    two = torch.randn(400, 2).double()
    rows = torch.cat([two[:, :1], two[:, 1:].expand(-1, 4)], dim=1)
    assert round_weights(weight, None, 7)[0].sum() == 7
    levels, scales = round_weights(weight, squares_of(rows), 7)
    assert scales.tolist() == pytest.approx([1]) and levels[0].item() == 7 and levels[1:].sum().item() == 2


def test_outputs_are_nearer_than_by_nearest_levels() -> None:
    torch.manual_seed(1)
    rows = torch.randn(500, 3).double() @ torch.randn(3, 40).double() + 0.1 * torch.randn(500, 40).double() + 1
    weight = torch.randn(40, 6).double()
    for largest in (7, 127):
        off = []
        for squares in (None, squares_of(rows)):
            levels, scales = round_weights(weight, squares, largest)
            assert levels.abs().max() <= largest and torch.equal(levels, levels.round())
            off.append((rows @ (levels * scales - weight)).square().mean().item())
        assert off[1] < 0.1 * off[0]


def test_the_largest_weight_is_cut_where_its_input_hardly_moves() -> None:
    weight = torch.tensor([[2.0], [1.0], [0.93], [0.79], [0.66], [0.52]]).double()
    squares = torch.diag(torch.tensor([1e-9, 1, 1, 1, 1, 1])).double()
    levels, scales = round_weights(weight, squares, 7)
    assert levels[0].item() == 7 and scales.item() < 2 / 7
    assert (levels * scales - weight)[1:].abs().max() < 0.1


def test_zero_stays_zero_and_a_column_of_zeros_has_a_scale() -> None:
    torch.manual_seed(2)
    weight = torch.randn(12, 3).double()
    weight[::2, 0], weight[:, 2] = 0, 0
    rows = torch.randn(100, 1).double() + 0.01 * torch.randn(100, 12).double()
    levels, scales = round_weights(weight, squares_of(rows), 7)
    assert not levels[weight == 0].any() and scales[2] == 1 and levels[:, 0].any()


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weight = torch.tensor([[1.0], [0.3]]).double()
    for squares in (torch.zeros(2, 2).double(), torch.diag(torch.tensor([1.0, 0])).double()):
        levels, scales = round_weights(weight, squares, 7)
        assert torch.isfinite(levels).all() and torch.isfinite(scales).all() and levels[0].item() == 7
