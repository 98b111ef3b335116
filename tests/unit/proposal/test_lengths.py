"""How a history is used: where few series are to be judged, more moments are."""

import pytest

from tasks.proposal.forecasting.lengths import plan_lengths
from tasks.tables.steps import Frequency, Step


@pytest.mark.parametrize(
    ("name", "steps", "series", "origins"),
    [
        ("1h", 8760, 1, 36),  # a tenth of a year, a day apart
        ("1h", 8760, 3, 36),
        ("1h", 8760, 20, 10),
        ("1h", 8760, 500, 8),
        ("1d", 2000, 10, 20),
        ("1d", 730, 10, 10),
        ("1mo", 60, 1, 2),
    ],
)
def test_few_series_are_judged_at_more_origins(name: Frequency, steps: int, series: int, origins: int) -> None:
    plan = plan_lengths(Step(name), steps, series, (None, None), 0)
    assert plan.origins == origins
    assert plan.windows * plan.stride >= series * steps // 4
