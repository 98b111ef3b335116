"""How often the champion gate errs, on simulated losses whose truth is known. docs/gates.md shows more of it."""

import pytest

from bench.gate_errors import World, by_row, by_series, promoted, two_way, upper_ends

TRIALS = 250


@pytest.mark.parametrize(
    ("series", "rejected"),
    [(320, 0.1), (80, 0.35), (20, 0.8)],
)
def test_worse_by_the_margin_passes_in_at_most_5_of_100_trials_and_equals_are_refused_rarely(
    series: int, rejected: float
) -> None:
    ends = upper_ends(World(series=series), two_way, TRIALS)
    assert promoted(ends, 0.02) <= 0.05
    assert promoted(ends, 0.03) <= promoted(ends, 0.02)
    assert 1 - promoted(ends, 0.0) <= rejected


def test_without_blocks_of_time_far_more_false_promotions_pass() -> None:
    world = World(series=320)
    assert promoted(upper_ends(world, by_series, TRIALS), 0.02) > 0.08
    assert promoted(upper_ends(world, by_row, TRIALS), 0.02) > 0.12


def test_where_series_are_independent_of_each_other_the_interval_is_still_honest() -> None:
    ends = upper_ends(World(series=160, shock=0.0), two_way, TRIALS)
    assert promoted(ends, 0.02) <= 0.05
    assert promoted(ends, 0.0) >= 0.9


def test_with_strong_shocks_of_all_series_the_interval_holds() -> None:
    ends = upper_ends(World(series=160, shock=0.04), two_way, TRIALS)
    assert promoted(ends, 0.02) <= 0.05
