"""Training losses and their gradients, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from tasks.problems.losses import cross_entropy, kl_temperature, pinball, soft_quantile

LEVELS = (0.1, 0.5, 0.9)


def gradient(loss: Tensor, output: Tensor) -> Tensor:
    return torch.autograd.grad(loss, output)[0]


def test_pinball_weighs_what_lies_above_and_below_by_the_level() -> None:
    output = torch.tensor([[[4.0, 8.0, 16.0], [4.0, 8.0, 16.0]]])
    target = torch.tensor([[10.0, 2.0]])
    # First day 0.1 x 6, 0.5 x 2, 0.1 x 6; second 0.9 x 2, 0.5 x 6, 0.1 x 14. Twice their mean, over the scale of 4.
    assert pinball(output, target, LEVELS, 4.0).item() == pytest.approx(2 * (2.2 + 6.2) / 6 / 4)


def test_pinball_at_the_median_is_the_absolute_error_over_the_scale() -> None:
    output, target = torch.tensor([[[3.0]], [[10.0]]]), torch.tensor([[5.0], [6.0]])
    assert pinball(output, target, (0.5,), 2.0).item() == pytest.approx(1.5)


def test_pinball_pulls_each_quantile_with_its_level() -> None:
    output = torch.zeros(1, 1, 3, requires_grad=True)
    pull = gradient(pinball(output, torch.ones(1, 1), LEVELS, 1.0), output)
    assert pull[0, 0].tolist() == pytest.approx([-0.2 / 3, -1 / 3, -1.8 / 3])
    high = torch.full((1, 1, 3), 2.0, requires_grad=True)
    push = gradient(pinball(high, torch.ones(1, 1), LEVELS, 1.0), high)
    assert push[0, 0].tolist() == pytest.approx([1.8 / 3, 1 / 3, 0.2 / 3])


def test_the_soft_loss_of_quantiles_compares_level_by_level() -> None:
    output = torch.tensor([[[1.0, 2.0, 6.0]]], requires_grad=True)
    loss = soft_quantile(output, torch.tensor([[[2.0, 2.5, 3.0]]]), 5.0)
    assert loss.item() == pytest.approx((1 + 0.5 + 3) / 3 / 5)
    assert gradient(loss, output)[0, 0].tolist() == pytest.approx([-1 / 15, -1 / 15, 1 / 15])


def test_cross_entropy_of_classes() -> None:
    output = torch.tensor([[math.log(3), 0.0], [0.0, math.log(4)]])
    # Chances of the true classes: 3/4 and 1/5.
    assert cross_entropy(output, torch.tensor([0, 0])).item() == pytest.approx(
        (math.log(4 / 3) + math.log(5)) / 2, rel=1e-5
    )


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
def test_the_soft_loss_of_classes_is_kl_times_the_squared_temperature(temperature: float, expected: float) -> None:
    teacher = torch.tensor([[math.log(9), 0.0], [0.0, 0.0]])
    # The second row agrees, so the mean over rows is half of the first.
    assert kl_temperature(torch.zeros(2, 2), teacher, temperature).item() == pytest.approx(expected / 2, abs=1e-6)


def test_the_soft_loss_of_classes_goes_from_the_teacher_to_the_student() -> None:
    output = torch.tensor([[math.log(9), 0.0]])
    # Student (9/10, 1/10), teacher (1/2, 1/2): 1/2 ln(5/9) + 1/2 ln 5; the other direction gives 0.3680642.
    assert kl_temperature(output, torch.zeros(1, 2), 1.0).item() == pytest.approx(0.5108256, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_that_agrees_has_no_soft_loss_and_one_that_does_not_is_pulled_to_the_teacher(
    temperature: float,
) -> None:
    teacher = torch.tensor([[2.0, -1.0, 0.0]])
    assert kl_temperature(teacher + 5, teacher, temperature).item() == pytest.approx(0, abs=1e-6)
    output = torch.zeros(1, 3, requires_grad=True)
    pull = gradient(kl_temperature(output, teacher, temperature), output)
    assert pull[0, 0] < 0 < pull[0, 1]
    # T^2 makes the pull T (softmax(s / T) - softmax(t / T)).
    softened = torch.softmax(teacher / temperature, dim=1)
    torch.testing.assert_close(pull, temperature * (1 / 3 - softened))
