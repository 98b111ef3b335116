"""Weights of truth and teacher that adapt while a student trains, worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.distillation.adaptive import Balance, shortfall
from tasks.distillation.trust import correctness


def test_the_teacher_counts_as_far_as_the_student_falls_short_of_it() -> None:
    student = torch.tensor([1.0, 2.0, 0.0, 0.0, 5.0], requires_grad=True)
    found = shortfall(student, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    assert found.tolist() == pytest.approx([1 - math.exp(-1), 1 - math.exp(-2), 0, 0, 1])
    assert not found.requires_grad, "a student must not fall short in order to lower its loss"


def test_a_balance_begins_at_alpha() -> None:
    balance = Balance(0.2)
    assert balance.alpha == pytest.approx(0.2)
    # Weights 0.2 and 0.8 sum to 1, so the loss is that of a fixed alpha, and what the logarithms add.
    loss = balance(torch.tensor(3.0), torch.tensor(1.0))
    assert loss.item() == pytest.approx(0.2 * 3 + 0.8 * 1 - math.log(0.2) - math.log(0.8))


def settled(hard: float, soft: float) -> Balance:
    balance = Balance(0.5)
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        loss: Tensor = balance(torch.tensor(hard), torch.tensor(soft))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return balance


def test_a_balance_makes_both_losses_count_alike() -> None:
    """Weights of 1 / 0.5 and 1 / 0.25."""
    balance = settled(0.5, 0.25)
    assert balance.logs.exp().tolist() == pytest.approx([2, 4], rel=0.01)
    assert balance.alpha == pytest.approx(1 / 3, rel=0.01)


def test_a_soft_loss_that_is_gone_does_not_take_all_the_weight() -> None:
    assert settled(1.0, 0.0).alpha == pytest.approx(1 / (1 + math.exp(Balance.LIMIT)), rel=0.05)


def test_a_row_follows_its_teacher_where_that_is_no_worse_than_the_naive_forecast(sales: Any) -> None:
    """Teachers that are right, as wrong as the naive forecast, and four times as wrong, by turns."""
    dataset, problem = sales.dataset, sales.problem()
    rows = np.arange(len(dataset.groups))
    target = dataset.target(rows)[:, :, None]
    factor = np.array([0.0, 1.0, 4.0])[rows % 3]
    soft = (target + factor[:, None, None] * (problem.naive(dataset, rows) - target)).astype(np.float32)
    learned = np.isin(rows, dataset.splits["train"])
    soft[~learned] = np.nan
    found = correctness(dataset, problem, soft)
    wrong = problem.score(problem.naive(dataset, rows), dataset.target(rows)).loss > 0
    assert (found[~learned] == 1).all() and wrong[learned].any()
    expected = np.where(wrong & learned & (factor == 4), 0.25, 1)
    assert found == pytest.approx(expected, rel=1e-3)
