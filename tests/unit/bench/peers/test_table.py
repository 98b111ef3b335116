from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.peers.table import Level, Table, all_steps, calendar
from bench.sets import BenchSet

Toy = Callable[..., BenchSet]
LEVELS: tuple[Level, ...] = ("none", "ratio", "last", "mean")


def one(number: int) -> np.ndarray:
    return np.array([number])


def row(table: Table, origin: int, step: int, series: int = 0) -> dict[str, float]:
    rows = table.rows(one(series), one(origin), np.array([[step]]))
    return dict(zip(table.names, rows.x[0].tolist(), strict=True))


def test_features_of_a_ramp(toy: Toy) -> None:
    promotion = np.arange(20, dtype=np.float32)[None] * 10
    data = toy([np.arange(20)], known={"promotion": promotion}, static={"shop": np.array(["a"])})
    features = row(Table(data, "none"), origin=14, step=2)
    assert [features[f"lag_{lag}"] for lag in (1, 2, 6)] == [14, 13, 9]
    assert features["mean_6"] == pytest.approx((14 + 13 + 12 + 11 + 10 + 9) / 6)
    assert (features["low"], features["high"]) == (9, 14) and features["std"] == pytest.approx(np.arange(6).std())
    # Step 16 by season 3: 13, 10, 7, 4, 1.
    assert (features["phase_3_1"], features["phase_3_2"], features["phase_3_mean_4"]) == (13, 10, 8.5)
    assert features["phase_3_mean_8"] == 7 and features["step"] == 2
    assert features["promotion"] == 160 and features["shop"] == 0


@pytest.mark.parametrize(
    ("level", "lag", "target"), [("ratio", 14 / 11.5, 16 / 11.5), ("last", 0, 2), ("mean", 2.5, 4.5)]
)
def test_levels_are_taken_out_of_features_and_target(toy: Toy, level: Level, lag: float, target: float) -> None:
    data = toy([np.arange(20)])
    table = Table(data, level)
    pairs = (one(0), one(14), np.array([[2]]))
    rows = table.rows(*pairs)
    assert rows.x[0, 0] == pytest.approx(lag)
    learned = table.targets(*pairs, rows)
    assert learned[0] == pytest.approx(target)
    assert learned * rows.scale + rows.offset == pytest.approx(16)


@pytest.mark.parametrize("level", LEVELS)
def test_rows_do_not_know_what_comes_after_their_origin(weekly: BenchSet, level: Level) -> None:
    origin = 100
    changed = weekly.values.copy()
    changed[:, origin + 1 :] = 12_345
    pairs = (np.arange(20), np.full(20, origin), np.tile(np.arange(1, 8), (20, 1)))
    before = Table(weekly, level).rows(*pairs)
    after = Table(replace(weekly, values=changed), level).rows(*pairs)
    assert np.array_equal(before.x, after.x, equal_nan=True)
    assert np.array_equal(before.scale, after.scale) and np.array_equal(before.offset, after.offset)


def test_what_was_not_observed_is_missing(toy: Toy) -> None:
    observed = np.ones((1, 20), np.bool_)
    observed[0, 13] = False
    features = row(Table(toy([np.arange(20)], observed=observed), "none"), origin=14, step=1)
    assert np.isnan(features["lag_2"]) and features["lag_3"] == 12
    assert features["mean_6"] == pytest.approx((14 + 12 + 11 + 10 + 9) / 5)


def test_sampled_targets_lie_within_the_asked_steps(weekly: BenchSet) -> None:
    table = Table(weekly, "none")
    series, origins, steps = table.sample(80, 50, 5000, np.random.default_rng(0))
    assert origins.min() >= 50 and (origins[:, None] + steps).max() <= 80 and {*series.tolist()} == {*range(20)}
    assert all(len({*row}) == 7 for row in steps[:20].tolist())


def test_high_cardinality_columns_are_left_out(toy: Toy) -> None:
    data = toy(np.zeros((300, 20)), static={"item": np.arange(300).astype(np.str_), "shop": np.array(["a", "b"] * 150)})
    assert Table(data, "none").categorical == ["shop"]


def test_every_window_of_every_series_in_order(toy: Toy) -> None:
    series, origins, steps = all_steps(toy(np.zeros((2, 20))), (3, 4))
    assert (series.tolist(), origins.tolist()) == ([0, 1, 0, 1], [3, 3, 4, 4]) and steps.tolist() == [[1, 2]] * 4


def test_the_calendar_holds_only_cycles_that_were_seen_twice(toy: Toy) -> None:
    short = calendar(toy(np.zeros((1, 30))))
    assert {*short} == {"weekday"} and short["weekday"][1][:2].tolist() == [4, 5]  # a Monday, counted from Thursday
    assert {*calendar(toy(np.zeros((1, 800))))} == {"weekday", "day_of_month", "day_of_year"}
