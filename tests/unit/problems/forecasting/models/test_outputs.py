"""The end of a model: quantiles in order, the expected value beside them, and where training starts."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tasks.problems.forecasting.models.outputs import (
    OrderedQuantiles,
    level_outputs,
    quantile_offsets,
    seasonal_average,
)
from tests.unit.problems.forecasting.models.windows import contract_of


def outputs_of(raw: tuple[float, ...], centre: float = 0.0, scale: float = 1.0, **changes: Any) -> list[float]:
    """Outputs of one step."""
    part = OrderedQuantiles(contract_of(horizon=1, **changes))
    found: list[float] = part(torch.tensor([raw]), torch.tensor([[centre]]), torch.tensor([[scale]]))[0, 0].tolist()
    return found


@pytest.mark.parametrize(
    ("levels", "raw", "expected"),
    [
        ((0.1, 0.5, 0.9), (2.0, 5.0, 3.0), [2, 7, 10]),
        ((0.1, 0.5, 0.9), (5.0, -1.0, -2.0), [5, 5, 5]),
        ((0.1, 0.5, 0.9), (-4.0, 5.0, 1.0), [0, 5, 6]),
        ((0.1, 0.25, 0.5, 0.75, 0.9), (1.0, 2.0, 10.0, 3.0, 4.0), [1, 3, 13, 16, 20]),
        ((0.5,), (-4.0,), [0]),
    ],
)
def test_quantiles_rise_from_the_lowest_and_are_never_negative(
    levels: tuple[float, ...], raw: tuple[float, ...], expected: list[float]
) -> None:
    assert outputs_of(raw, quantiles=levels) == expected


@pytest.mark.parametrize(
    ("horizon", "quantiles", "mean", "positive", "normalise"),
    [
        *product(
            (4, 5), ((0.1, 0.5, 0.9), (0.1, 0.3, 0.5, 0.9), (0.5,)), (False, True), (False, True), ("scale", "standard")
        )
    ],
)
def test_every_step_is_the_running_sum_of_its_own_gaps(
    horizon: int, quantiles: tuple[float, ...], mean: bool, positive: bool, normalise: str
) -> None:
    """Even and odd numbers of steps alike, each step and each window for itself."""
    rng = np.random.default_rng(0)
    raw = rng.normal(0, 1, (6, horizon, len(quantiles) + mean)).astype(np.float32)
    scale = rng.uniform(0.5, 20, (6, 1)).astype(np.float32)
    centre = rng.normal(0, 5, (6, 1)).astype(np.float32) * (normalise == "standard")
    contract = contract_of(horizon=horizon, quantiles=quantiles, mean=mean, positive=positive, normalise=normalise)
    found = OrderedQuantiles(contract)(*(torch.from_numpy(part) for part in (raw.reshape(6, -1), centre, scale)))
    expected = raw.copy()
    if positive and normalise == "scale":
        expected = expected.clip(0)  # the lowest quantile is cut off before the gaps are added
    expected[:, :, 1 : len(quantiles)] = expected[:, :, 1 : len(quantiles)].clip(0)
    expected[:, :, : len(quantiles)] = expected[:, :, : len(quantiles)].cumsum(axis=2)
    expected = expected * scale[:, :, None] + centre[:, :, None]
    expected = expected.clip(0) if positive else expected
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert (found.numpy() < 0).any() != positive, "nothing lies below zero, so nothing is shown"


def test_all_numbers_are_in_multiples_of_the_windows_scale() -> None:
    assert outputs_of((2.0, 5.0, 3.0), scale=10) == [20, 70, 100]


@pytest.mark.parametrize(
    ("raw", "positive", "expected"),
    [
        ((2.0, 5.0, 3.0, 20.0), True, [2, 7, 10, 20]),
        ((2.0, 1.0, 3.0, -4.0), True, [2, 3, 6, 0]),
        ((-2.0, 1.0, -3.0, -4.0), False, [-2, -1, -1, -4]),
    ],
)
def test_the_expected_value_stands_last_and_minds_no_quantile(
    raw: tuple[float, ...], positive: bool, expected: list[float]
) -> None:
    assert outputs_of(raw, mean=True, positive=positive) == expected


@pytest.mark.parametrize(("positive", "expected"), [(True, [0, 1, 7, 0]), (False, [-1, 1, 7, -3])])
def test_the_centre_is_added_before_anything_is_cut_off(positive: bool, expected: list[float]) -> None:
    # Lowest -3, then -2 and 1; expected value -4. Times 2, plus 5.
    raw = (-3.0, 1.0, 3.0, -4.0)
    assert outputs_of(raw, centre=5, scale=2, mean=True, positive=positive, normalise="last") == expected


@pytest.mark.parametrize("positive", [False, True])
def test_training_and_use_give_the_same_quantiles(positive: bool) -> None:
    head = OrderedQuantiles(contract_of(horizon=1, positive=positive))
    raw, centre, scale = torch.randn(20, head.layout.outputs), torch.zeros(20, 1), torch.full((20, 1), 3.0)
    assert torch.allclose(head.train()(raw, centre, scale), head.eval()(raw, centre, scale), atol=1e-6)


@pytest.mark.parametrize("positive", [False, True])
def test_quantiles_that_fell_together_in_every_row_part_again(positive: bool) -> None:
    """A head of constants alone, far below zero: its gaps are cut off in every row."""
    head = OrderedQuantiles(contract_of(horizon=1, positive=positive))
    levels, centre, scale = torch.tensor(head.layout.quantiles), torch.zeros(99, 1), torch.ones(99, 1)
    truth = torch.arange(0.01, 0.995, 0.01).reshape(99, 1, 1)
    raw = torch.nn.Parameter(torch.full((1, head.layout.outputs), -1.0))
    optimizer = torch.optim.SGD([raw], lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        gap = truth - head(raw.expand(99, -1), centre, scale)[..., : len(levels)]
        torch.autograd.backward(torch.maximum(levels * gap, (levels - 1) * gap).mean())
        optimizer.step()
    found = head.eval()(raw.detach(), centre[:1], scale[:1])[0, 0, : len(levels)]
    assert torch.allclose(found, levels, atol=0.1)


def test_the_median_starts_at_zero_in_a_band_of_one_scale() -> None:
    assert level_outputs(contract_of(mean=True)).tolist() == [1, 0, 0, 1]
    assert quantile_offsets(contract_of(horizon=2)).tolist() == [-0.5, 0.5, 0.5] * 2
    assert quantile_offsets(contract_of(horizon=2, mean=True)).tolist() == [-0.5, 0.5, 0.5, 0] * 2
    assert quantile_offsets(contract_of(horizon=1, quantiles=(0.1, 0.3, 0.5))).tolist() == [-1, 0.5, 0.5]


def test_the_seasonal_average_takes_half_from_the_same_weekday() -> None:
    weights = seasonal_average(contract_of(horizon=2, context=4, season=2))
    assert weights.tolist() == [[0.375, 0.125, 0.375, 0.125], [0.125, 0.375, 0.125, 0.375]]


def test_an_uneven_context_counts_each_weekday_as_often_as_it_is_there() -> None:
    weights = seasonal_average(contract_of(horizon=2, context=3, season=2))
    third = 0.5 / 3
    expected = [[third, 0.5 + third, third], [0.25 + third, third, 0.25 + third]]
    assert torch.allclose(weights, torch.tensor(expected))


@pytest.mark.parametrize("season", [1, 5])
def test_without_a_season_to_see_the_average_is_that_of_all(season: int) -> None:
    assert seasonal_average(contract_of(horizon=2, context=4, season=season)).tolist() == [[0.25] * 4] * 2
