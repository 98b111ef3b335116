"""What trees see of a window, worked out by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tasks.problems.forecasting.models.boosting.features import FeatureOptions, WindowFeatures
from tests.unit.problems.forecasting.models.windows import CONTRACT, contract_of, first_codes, windows_of

STEP = 1 / 4096
USUAL = FeatureOptions()
SEEN = ("units", "observed", "future", "static", "calendar")


def close(expected: Any) -> Any:
    """Equal but for the rounding, in multiples of a scale of seven."""
    return pytest.approx(expected, abs=8 * STEP)


def test_a_line_for_each_future_step() -> None:
    windows = windows_of(2)
    windows["units"][0] = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15])
    windows["static"][0] = torch.tensor([5, 9, 11])
    part = WindowFeatures(CONTRACT, USUAL)
    lines = part(*(windows[name] for name in SEEN))
    assert lines.shape == (2, 5, part.width)
    # The scale: the mean of 105 over 14 days and one pseudo-day of a tenth of 10 units.
    scale = 106 / 15
    found = lines[0] * scale
    assert found[0, :3].tolist() == close([12, 13, 15])
    # Seven days, fourteen days.
    assert found[0, 3:5].tolist() == close([78 / 7, 105 / 14])
    spread = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15]).std(correction=0).item()
    assert found[0, 5].item() == close(spread)
    assert lines[0, 0, 6].item() == close(1 / 14) and lines[0, 0, 7].exp().item() == close(scale)
    assert lines[0, :, 8:10].tolist() == [[9, 11]] * 5 and (lines[0, :, :10] == lines[0, :1, :10]).all()
    # The same weekday one and two weeks ago, and their mean.
    assert found[0, 10:13].tolist() == close([8, 0, 4]) and found[4, 10:13].tolist() == close([12, 5, 8.5])
    known = torch.cat([windows["future"], windows["calendar"]], dim=2)
    torch.testing.assert_close(lines[:, :, 13:18], known, atol=STEP, rtol=0)
    assert lines[0, :, 18].tolist() == [0, 1, 2, 3, 4] and lines[0, :, 19].tolist() == [5, 6, 0, 1, 2]


def test_further_seasons_and_newest_values_are_features_too() -> None:
    windows = windows_of(1)
    windows["units"][0] = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15])
    part = WindowFeatures(CONTRACT, FeatureOptions(seasons=(3,), lags=5))
    lines = part(*(windows[name] for name in SEEN))
    assert lines.shape == (1, 5, part.width) and part.width == WindowFeatures(CONTRACT, USUAL).width + 2 + 5
    found = lines[0] * 106 / 15
    assert found[0, :5].tolist() == close([10, 11, 12, 13, 15])
    # A week's two places, three days' four, then both means; the fifth day ahead is the second of three.
    assert found[4, 12:20].tolist() == close([12, 5, 13, 10, 7, 4, 8.5, 8.5])


def test_further_means_extremes_and_the_newest_covariates_of_the_past_are_features_too() -> None:
    contract = contract_of()
    contract = replace(contract, inputs={**contract.inputs, "past": ("float32", (14, 7))})
    windows = windows_of(2, contract)
    windows["units"][0] = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15])
    windows["observed"][0, 0] = windows["observed"][0, -1] = 0
    windows["units"][0, -1] = 0
    options = FeatureOptions(spans=(2, 4), extremes=True, newest=True)
    part = WindowFeatures(contract, options)
    assert part.uses == ("units", "observed", "future", "static", "past", "calendar")
    lines = part(*(windows[name] for name in part.uses))
    assert lines.shape == (2, 5, part.width) and part.width == WindowFeatures(contract, USUAL).width + 2 + 2 + 2
    # The mean of 90 over 12 days and one pseudo-day of a tenth of 10 units.
    found = lines[0] * 91 / 13
    assert found[0, 3:7].tolist() == close([13, 12, 63 / 6, 90 / 12]), "of two days, four, a week and all"
    assert found[0, 10:12].tolist() == close([2, 13]), "what nobody observed is neither least nor greatest"
    torch.testing.assert_close(lines[:, 0, 12:14], windows["past"][:, -1, 3:5], atol=STEP, rtol=0)


def test_measured_by_one_number_for_all_a_window_keeps_its_level() -> None:
    windows = windows_of(2)
    windows["units"][1] = 3 * windows["units"][0]
    lines = WindowFeatures(CONTRACT, FeatureOptions(normalise="none"))(*(windows[name] for name in SEEN))
    assert lines[0, 0, :3].tolist() == close((windows["units"][0, -3:] / 10).tolist()), "ten is the mean of all windows"
    torch.testing.assert_close(lines[1, :, :5], 3 * lines[0, :, :5], atol=4 * STEP, rtol=0)


@pytest.mark.parametrize("season", [1, 4, 30])
@pytest.mark.parametrize("normalise", ["scale", "standard", "last"])
@pytest.mark.parametrize("extremes", [False, True])
def test_any_season_has_features_of_the_stated_width(season: int, normalise: str, extremes: bool) -> None:
    contract = contract_of(season=season, normalise=normalise, horizon=9)
    windows = windows_of(3, contract)
    windows["static"][:] = first_codes(contract)
    windows["units"][0] = windows["observed"][0] = 0
    part = WindowFeatures(contract, FeatureOptions(extremes=extremes))
    lines = part(*(windows[name] for name in SEEN))
    assert lines.shape == (3, 9, part.width) and lines[1:].isfinite().all()
    assert lines[0].isnan().any() and not lines[0].isinf().any(), "of a window that nobody observed"


def test_a_step_that_was_not_observed_is_missing_and_no_zero() -> None:
    windows = windows_of(2)
    windows["units"][0] = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 0, 0, 10, 11, 12, 13, 0])
    windows["observed"][0] = torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0])
    lines = WindowFeatures(CONTRACT, USUAL)(*(windows[name] for name in SEEN))
    # The mean of 73 over 12 days and one pseudo-day of a tenth of 10 units.
    found = lines[0] * 74 / 13
    assert found[0, :2].tolist() == close([12, 13]) and found[0, 2].isnan()
    assert found[0, 3:5].tolist() == close([46 / 5, 73 / 12])
    seen = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 0, 10, 11, 12, 13])
    assert found[0, 5].item() == close(seen.std(correction=0).item()) and lines[0, 0, 6].item() == close(2 / 12)
    # The second day ahead: a week ago nobody counted, two weeks ago there were two; the mean is that of the one.
    assert found[1, 10].isnan() and found[1, 11:13].tolist() == close([2, 2])
    assert found[0, 10:13].tolist() == close([0, 0, 0])


def test_the_newest_steps_alone_say_the_size() -> None:
    windows = windows_of(1)
    windows["units"][0] = torch.tensor([900.0] * 10 + [8, 9, 10, 11])
    windows["observed"][0] = 1
    lines = WindowFeatures(contract_of(normalise_steps=4), USUAL)(*(windows[name] for name in SEEN))
    assert (lines[0, 0, :3] * 39 / 5).tolist() == close([9, 10, 11])


def test_what_is_nothing_but_rounding_decides_nothing() -> None:
    """The mean of a standardised window is 0 but for the last digits, which are others in ONNX Runtime."""
    contract = contract_of(normalise="standard")
    part, windows = WindowFeatures(contract, USUAL), windows_of(50, contract)
    seen = windows["units"], windows["observed"]
    standardised = part.norm.apply_to(*seen, *part.norm(*seen))
    assert (standardised.mean(dim=1) != 0).any(), "there are no such digits"
    lines = part(*(windows[name] for name in SEEN))
    assert (lines[:, :, 4] == 0).all()
    assert (lines * 4096 == (lines * 4096).round()).all()
