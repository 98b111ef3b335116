"""The end of a model: quantiles in order, the expected value beside them, and where training starts."""

import pytest
import torch

from tasks.models.outputs import OrderedQuantiles, quantile_offsets, seasonal_average
from tests.unit.models.windows import contract_of


@pytest.mark.parametrize(
    ("levels", "raw", "expected"),
    [
        ((0.1, 0.5, 0.9), (2.0, 5.0, 3.0), (3.0, 5.0, 8.0)),
        ((0.1, 0.5, 0.9), (-1.0, 5.0, -2.0), (5.0, 5.0, 5.0)),
        ((0.1, 0.5, 0.9), (9.0, 5.0, 0.0), (0.0, 5.0, 5.0)),
        ((0.1, 0.5, 0.9), (0.0, -5.0, 6.0), (0.0, 0.0, 1.0)),
        ((0.1, 0.25, 0.5, 0.75, 0.9), (1.0, 2.0, 10.0, 3.0, 4.0), (7.0, 8.0, 10.0, 13.0, 17.0)),
        ((0.5, 0.8), (4.0, 1.0), (4.0, 5.0)),
        ((0.5,), (-4.0,), (0.0,)),
    ],
)
def test_quantiles_rise_from_the_median_and_are_never_negative(
    levels: tuple[float, ...], raw: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    part = OrderedQuantiles(contract_of(quantiles=levels))
    assert part(torch.tensor([raw])).tolist() == [list(expected)]


@pytest.mark.parametrize(
    ("raw", "positive", "expected"),
    [
        ((2.0, 5.0, 3.0, 20.0), True, (3.0, 5.0, 8.0, 20.0)),
        ((2.0, 1.0, 3.0, -4.0), True, (0.0, 1.0, 4.0, 0.0)),
        ((2.0, 1.0, 3.0, -4.0), False, (-1.0, 1.0, 4.0, -4.0)),
    ],
)
def test_the_expected_value_stands_last_and_minds_no_quantile(
    raw: tuple[float, ...], positive: bool, expected: tuple[float, ...]
) -> None:
    part = OrderedQuantiles(contract_of(mean=True, positive=positive))
    assert part(torch.tensor([raw])).tolist() == [list(expected)]


def test_levels_start_at_zero_and_gaps_at_half_the_scale() -> None:
    assert quantile_offsets(contract_of(horizon=2)).tolist() == [0.5, 0, 0.5] * 2
    assert quantile_offsets(contract_of(horizon=2, mean=True)).tolist() == [0.5, 0, 0.5, 0] * 2


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
