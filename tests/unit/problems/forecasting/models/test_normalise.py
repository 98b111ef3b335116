"""Per-window normalisation: centre and scale with their hand-computed values, over observed steps only."""

from math import log, sqrt

import pytest
import torch
from torch import Tensor

from tasks.core.errors import ConfigError
from tasks.problems.forecasting.models.normalise import WindowNorm
from tests.unit.problems.forecasting.models.windows import contract_of


def window(values: list[float], observed: list[int]) -> tuple[Tensor, Tensor]:
    """(1, 4) values and observed flags."""
    return torch.tensor([values], dtype=torch.float32), torch.tensor([observed], dtype=torch.float32)


def norm_of(kind: str, **changes: object) -> WindowNorm:
    return WindowNorm(contract_of(context=4, normalise=kind, **changes))


def test_the_scale_is_the_mean_over_observed_days_and_one_pseudo_day() -> None:
    # (30 + 1) / (3 + 1): one more day of a tenth of 10 units; a window without any sales has that alone.
    for values, observed, expected in (([6.0, 9, 15, 0], [1, 1, 1, 0], 7.75), ([0.0] * 4, [0] * 4, 1.0)):
        centre, scale = norm_of("scale")(*window(values, observed))
        assert centre.tolist() == [[0]] and scale.tolist() == [[expected]]


def test_the_scale_of_signed_values_is_that_of_their_size() -> None:
    _, scale = norm_of("scale", positive=False)(*window([-6, 9, -15, 0], [1, 1, 1, 0]))
    assert scale.tolist() == [[7.75]]


@pytest.mark.parametrize(("kind", "centre"), [("standard", 4.0), ("last", 6.0)])
def test_centre_and_deviation_are_those_of_the_observed_steps(kind: str, centre: float) -> None:
    # Observed 2, 4, 6: mean 4, variance 8/3, plus (0.01 x 10)^2; the last observed one is 6.
    values, flags = window([2, 4, 6, 500], [1, 1, 1, 0])
    found = norm_of(kind)(values, flags)
    assert found[0].item() == centre
    assert found[1].item() == pytest.approx(sqrt(8 / 3 + 0.01))
    units = norm_of(kind).apply_to(values, flags, *found)
    assert units[0].tolist() == pytest.approx([(value - centre) / found[1].item() for value in (2, 4, 6)] + [0])


def test_a_model_can_measure_windows_in_another_way_than_the_contract_says() -> None:
    values, flags = window([2, 4, 6, 500], [1, 1, 1, 0])
    contract = contract_of(context=4, normalise="standard")
    assert WindowNorm(contract, "last")(values, flags)[0].tolist() == [[6]]
    assert WindowNorm(contract)(values, flags)[0].tolist() == [[4]]


@pytest.mark.parametrize(
    ("kind", "centre", "scale"), [("scale", 0.0, 11 / 3), ("standard", 5.0, sqrt(1.01)), ("last", 6.0, sqrt(1.01))]
)
def test_the_newest_steps_alone_say_level_and_size(kind: str, centre: float, scale: float) -> None:
    # Of 4 and 6: the mean with one pseudo-step of 1, or a deviation of 1 and a hundredth of it.
    values, flags = window([500, 700, 4, 6], [1, 1, 1, 1])
    norm = norm_of(kind, normalise_steps=2)
    found = norm(values, flags)
    assert found[0].item() == centre and found[1].item() == pytest.approx(scale)
    assert norm.apply_to(values, flags, *found)[0, 0].item() == pytest.approx((500 - centre) / scale)


@pytest.mark.parametrize("kind", ["standard", "last"])
@pytest.mark.parametrize("observed", [[1, 1, 1, 1], [0, 0, 0, 0]])
def test_a_window_without_change_or_without_values_has_a_scale_above_zero(kind: str, observed: list[int]) -> None:
    values, flags = window([5.0 * observed[0]] * 4, observed)
    centre, scale = norm_of(kind)(values, flags)
    assert centre.item() == 5 * observed[0] and scale.item() == pytest.approx(0.1)
    assert norm_of(kind).apply_to(values, flags, centre, scale).tolist() == [[0] * 4]


def test_a_window_times_two_has_twice_the_scale() -> None:
    values, flags = window([200, 400, 600, 800], [1, 1, 1, 1])
    for kind in ("standard", "last"):
        one, two = (norm_of(kind)(values * factor, flags)[1] for factor in (1.0, 2.0))
        assert torch.log(two / one).item() == pytest.approx(log(2), rel=1e-5)


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"problem\.normalise: unknown kind 'minmax'; there are: scale, standard, last, volatility"
    ):
        norm_of("minmax")
