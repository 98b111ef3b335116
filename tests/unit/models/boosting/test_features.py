"""What trees see of a window, worked out by hand."""

import pytest
import torch

from tasks.models.boosting.features import WindowFeatures
from tests.unit.models.windows import CONTRACT, contract_of, windows_of

SEEN = ("history", "future", "static", "calendar")


def test_a_line_for_each_future_step() -> None:
    windows = windows_of(2)
    windows["history"][0, :, 0] = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15])
    windows["static"][0] = torch.tensor([5, 2, 1])
    part = WindowFeatures(CONTRACT)
    lines = part(*(windows[name] for name in SEEN))
    assert lines.shape == (2, 5, part.width)
    # The scale: the mean of 105 over 14 days and one pseudo-day of a tenth of 10 units.
    scale = 106 / 15
    found = lines[0] * scale
    assert found[0, :3].tolist() == pytest.approx([12, 13, 15])
    # Seven days, fourteen days.
    assert found[0, 3:5].tolist() == pytest.approx([78 / 7, 105 / 14])
    spread = torch.tensor([0.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15]).std(correction=0).item()
    assert found[0, 5].item() == pytest.approx(spread)
    assert lines[0, 0, 6].item() == pytest.approx(1 / 14) and lines[0, 0, 7].exp().item() == pytest.approx(scale)
    assert lines[0, :, 8:10].tolist() == [[2, 1]] * 5 and (lines[0, :, :10] == lines[0, :1, :10]).all()
    # The same weekday one and two weeks ago, and their mean.
    assert found[0, 10:13].tolist() == pytest.approx([8, 0, 4]) and found[4, 10:13].tolist() == pytest.approx(
        [12, 5, 8.5]
    )
    assert torch.equal(lines[:, :, 13:16], windows["future"]) and torch.equal(lines[:, :, 16:18], windows["calendar"])
    assert lines[0, :, 18].tolist() == [0, 1, 2, 3, 4] and lines[0, :, 19].tolist() == [5, 6, 0, 1, 2]


@pytest.mark.parametrize("season", [1, 4, 30])
@pytest.mark.parametrize("normalise", ["scale", "standard", "last"])
def test_any_season_has_finite_features_of_the_stated_width(season: int, normalise: str) -> None:
    contract = contract_of(season=season, normalise=normalise, horizon=9)
    windows = windows_of(3, contract)
    windows["static"][:] = 0
    windows["history"][0] = 0
    part = WindowFeatures(contract)
    lines = part(*(windows[name] for name in SEEN))
    assert lines.shape == (3, 9, part.width) and lines.isfinite().all()
