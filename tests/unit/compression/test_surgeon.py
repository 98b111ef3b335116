"""Inputs leave a layer where the others can make up for them, compared with trying every choice."""

from itertools import combinations

import pytest
import torch

from tasks.compression.surgeon import remove_inputs


def rest(weight: torch.Tensor, inputs: torch.Tensor, kept: list[int]) -> float:
    """Mean square of what is lost with these inputs at their best: ordinary least squares."""
    outputs = (inputs @ weight.T).double()
    found = torch.linalg.lstsq(inputs[:, kept].double(), outputs).solution
    return float((inputs[:, kept].double() @ found - outputs).square().sum(1).mean())


def test_one_input_leaves_as_if_all_choices_had_been_tried() -> None:
    torch.manual_seed(0)
    weight, inputs = torch.randn(3, 6), torch.randn(200, 6) @ torch.randn(6, 6)
    kept, made = remove_inputs(weight, inputs, 6, 5)
    best = min(combinations(range(6), 5), key=lambda some: rest(weight, inputs, list(some)))
    assert tuple(kept.tolist()) == best
    lost = (inputs[:, kept] @ made.T - inputs @ weight.T).square().sum(1).mean()
    assert float(lost) == pytest.approx(rest(weight, inputs, list(best)), rel=1e-2)


def test_a_large_input_goes_if_another_is_its_copy() -> None:
    torch.manual_seed(1)
    inputs = torch.randn(100, 3)
    inputs[:, 0] *= 10
    inputs[:, 2] = inputs[:, 0]
    weight = torch.tensor([[5.0, 0.1, 4.0]])
    kept, made = remove_inputs(weight, inputs, 3, 2)
    assert 1 in kept.tolist() and len(kept) == 2
    assert made.flatten().sort().values.tolist() == pytest.approx([0.1, 9], abs=0.02)


def test_inputs_behind_the_removable_ones_stay() -> None:
    torch.manual_seed(2)
    kept, made = remove_inputs(torch.randn(2, 7), torch.randn(50, 7), 4, 1)
    assert kept[1:].tolist() == [4, 5, 6] and made.shape == (2, 4)
    every, same = remove_inputs(torch.ones(2, 3), torch.randn(50, 3), 3, 3)
    assert every.tolist() == [0, 1, 2] and torch.equal(same, torch.ones(2, 3))


def test_inputs_that_are_always_zero_go_first_and_cost_nothing() -> None:
    torch.manual_seed(3)
    inputs, weight = torch.randn(50, 4), torch.tensor([[0.01, 100.0, 0.01, 100.0]])
    inputs[:, [1, 3]] = 0
    kept, made = remove_inputs(weight, inputs, 4, 2)
    assert kept.tolist() == [0, 2] and torch.allclose(made, weight[:, [0, 2]])
