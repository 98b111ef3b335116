"""Losses of classes and their gradients, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from tasks.problems.base import FeatureContract
from tasks.problems.blocks.class_losses import SOFT, cross_entropy

CONTRACT = FeatureContract("tabular", {}, (2,))


def soft(kind: str, output: Tensor, teacher: Tensor, **options: float) -> Tensor:
    return SOFT[kind](**options).bind(CONTRACT)(output, teacher, torch.zeros(len(output), dtype=torch.int64))


def test_cross_entropy_of_classes_by_row() -> None:
    output = torch.tensor([[math.log(3), 0.0], [0.0, math.log(4)]])
    # Chances of the true classes: 3/4 and 1/5.
    expected = [math.log(4 / 3), math.log(5)]
    assert cross_entropy(output, torch.tensor([0, 0])).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        # Teacher (9/10, 1/10) against (1/2, 1/2): 9/10 ln(9/5) + 1/10 ln(1/5).
        (1.0, 0.3680642),
        # Softened by two: (3/4, 1/4); 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120, times 4.
        (2.0, 0.5232481),
        # Softened by four: sqrt(3) to 1, (0.6339746, 0.3660254); KL 0.0363408, times 16.
        (4.0, 0.5814525),
    ],
)
def test_kl_is_times_the_squared_temperature(temperature: float, expected: float) -> None:
    teacher = torch.tensor([[math.log(9), 0.0], [0.0, 0.0]])
    rows = soft("kl", torch.zeros(2, 2), teacher, temperature=temperature)
    assert rows.tolist() == pytest.approx([expected, 0], abs=1e-5)


def test_kl_goes_from_the_teacher_to_the_student() -> None:
    output = torch.tensor([[math.log(9), 0.0]])
    # Student (9/10, 1/10), teacher (1/2, 1/2): 1/2 ln(5/9) + 1/2 ln 5; the other direction gives 0.3680642.
    assert soft("kl", output, torch.zeros(1, 2)).item() == pytest.approx(0.5108256, abs=1e-6)


@pytest.mark.parametrize("kind", ["kl", "cross-entropy"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_pull_is_the_gap_of_softened_chances_times_the_temperature(kind: str, temperature: float) -> None:
    teacher = torch.tensor([[2.0, -1.0, 0.0]])
    output = torch.zeros(1, 3, requires_grad=True)
    pull = torch.autograd.grad(soft(kind, output, teacher, temperature=temperature).sum(), output)[0]
    torch.testing.assert_close(pull, temperature * (1 / 3 - torch.softmax(teacher / temperature, dim=1)))


def test_cross_entropy_against_the_softened_teacher_is_kl_and_the_teachers_entropy() -> None:
    teacher = torch.tensor([[math.log(9), 0.0]])
    # Softened by two the teacher says (3/4, 1/4); against even chances that is ln 2, times 4.
    loss = soft("cross-entropy", torch.zeros(1, 2), teacher, temperature=2.0)
    assert loss.item() == pytest.approx(4 * math.log(2), rel=1e-5)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert loss.item() == pytest.approx(0.5232481 + 4 * entropy, rel=1e-5)


def test_logits_are_compared_up_to_a_constant() -> None:
    teacher = torch.tensor([[3.0, 1.0], [7.0, 7.0]])
    # Gaps (-3, -1) less their mean: -1 and 1. In the second row the student says the same, shifted.
    assert soft("logits", torch.zeros(2, 2), teacher).tolist() == [1.0, 0.0]
