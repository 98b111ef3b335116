"""Windows cut into seasons."""

import pytest
import torch

from tasks.problems.forecasting.models.patches import Patches


@pytest.mark.parametrize(("context", "first"), [(6, 0), (8, 2), (7, 1)])
def test_patches_are_whole_seasons_and_end_with_the_window(context: int, first: int) -> None:
    part = Patches(context, season=3, channels=2)
    patches = part(torch.arange(2.0 * context).reshape(1, context, 2))
    assert (part.steps, part.width) == (2, 6)
    assert patches[0, 0].tolist() == [2.0 * first + number for number in range(6)]
    assert patches[0, 1, -1] == 2 * context - 1


def test_a_season_longer_than_the_context_makes_one_patch() -> None:
    part = Patches(4, season=9, channels=6)
    assert part(torch.zeros(2, 4, 6)).shape == (2, 1, 24)
