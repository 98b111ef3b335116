"""How often the watch errs, on simulated losses whose truth is known. docs/gates.md shows more of it."""

from dataclasses import replace

from bench.gate_errors import World
from bench.watch_errors import WORLDS, Nights, alarms, lower_ends

TRIALS, NIGHTS, MARGIN = 8, 10, 0.05


def test_sound_releases_raise_no_alarm_and_one_that_is_worse_by_a_fifth_is_found_in_ten_nights() -> None:
    ends = lower_ends(Nights(World(series=40), NIGHTS), TRIALS, resamples=200)
    assert not alarms(ends, 0.0, MARGIN).any()
    assert alarms(ends, 0.2, MARGIN).any(axis=1).all()
    assert not alarms(ends, 0.2, MARGIN)[:, :4].any()  # nothing is said of fewer than five days


def test_beside_the_naive_forecast_a_sound_release_raises_hardly_any() -> None:
    ends = lower_ends(Nights(replace(WORLDS["naive forecast, as gated"], series=40), NIGHTS), TRIALS, resamples=200)
    assert alarms(ends, 0.0, MARGIN).mean() <= 0.01
    assert alarms(ends, 0.3, MARGIN).any(axis=1).mean() >= 0.5
