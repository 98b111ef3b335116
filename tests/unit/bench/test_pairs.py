"""What records hold of series and times is enough for a paired interval, and it is of equal windows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.metrics import Forecasts, score
from bench.pairs import MOST_GROUPS, cells_of, paired
from bench.report import page
from bench.sets import BenchSet
from tasks.core.errors import DataError

Toy = Callable[..., BenchSet]


def forecasts(data: BenchSet, noise: float, seed: int) -> Forecasts:
    actual, _ = data.targets(data.origins.test)
    spoilt = actual + np.random.default_rng(seed).normal(0, noise, actual.shape).astype(np.float32)
    return Forecasts(mean=spoilt, quantiles=np.stack([spoilt - 1, spoilt, spoilt + 1], axis=-1))


def total(cells: dict[str, list[str]], name: str) -> float:
    return sum(float(number) for line in cells[name] for number in line.split())


@pytest.mark.parametrize("kind", ["weekly", "channels"])
def test_cells_add_up_to_the_error_of_the_set(kind: str, request: pytest.FixtureRequest) -> None:
    data: BenchSet = request.getfixturevalue(kind)
    made = forecasts(data, 2, 0)
    cells = cells_of(data, made)
    assert total(cells, "loss") / total(cells, "weight") == pytest.approx(score(data, made)[data.metric], rel=1e-4)
    assert len(cells["loss"]) == len(data.series) and len(cells["loss"][0].split()) >= 2


def test_cells_of_a_set_scored_by_quantiles_add_up_to_their_loss(weekly: BenchSet) -> None:
    data = replace(weekly, metric="wql")
    made = forecasts(data, 2, 0)
    cells = cells_of(data, made)
    errors = score(data, made)
    assert total(cells, "loss") / total(cells, "weight") == pytest.approx(errors["wql"], rel=1e-4)
    assert abs(errors["wql"] - errors["wape"]) > 0.01


def test_many_series_are_so_many_groups_and_what_nobody_saw_has_no_weight(toy: Toy) -> None:
    values = np.ones((3 * MOST_GROUPS + 1, 12))
    seen = np.ones(values.shape, np.bool_)
    seen[0, -1] = False
    data = toy(values, observed=seen)
    cells = cells_of(data, forecasts(data, 1, 0))
    assert len(cells["weight"]) == MOST_GROUPS
    # Two origins, one step apart, of two steps; the last step of the first series is in one of them.
    assert total(cells, "weight") == 4 * len(values) - 1


def test_a_clearly_better_one_is_below_zero_and_an_equal_one_is_not(weekly: BenchSet) -> None:
    better, worse, equal = (
        cells_of(weekly, forecasts(weekly, noise, seed)) for noise, seed in ((1, 1), (3, 2), (1, 3))
    )
    found = paired([better], [worse])
    errors = [score(weekly, forecasts(weekly, noise, seed))["wape"] for noise, seed in ((1, 1), (3, 2))]
    assert found.difference == pytest.approx(errors[0] / errors[1] - 1, rel=1e-3)
    assert found.low < found.difference < found.high < 0
    level = paired([better, better], [equal])
    assert level.low < 0 < level.high


def test_records_of_other_windows_are_not_compared(weekly: BenchSet, toy: Toy) -> None:
    made = cells_of(weekly, forecasts(weekly, 1, 1))
    other = {**made, "weight": [*made["weight"][1:], made["weight"][0]]}
    with pytest.raises(DataError, match="of other windows; measure the set anew"):
        paired([made], [other])
    small = toy([[0, 1, 3, 4, 6, 7, 4, 6]])
    with pytest.raises(DataError, match="of other windows; measure the set anew"):
        paired([made], [cells_of(small, forecasts(small, 1, 1))])
    with pytest.raises(DataError, match="of other windows; measure the set anew"):
        paired([made, cells_of(small, forecasts(small, 1, 1))], [made])
    with pytest.raises(DataError, match="of other windows; measure the set anew"):
        paired([made], [made, other])


def test_the_page_tells_each_peer_and_the_sets_that_were_not_measured_anew(weekly: BenchSet) -> None:
    def record(name: str, peer: str, noise: float, seed: int) -> dict[str, Any]:
        plain = {
            "set": name, "peer": peer, "seed": seed, "errors": {"wape": 0.5, "rmsse": 0.7}, "parameters": 1, "bytes": 4,
            "train_seconds": 1.0, "predict_seconds": 1.0, "rows_per_second": {"full": 1.0, "batch_1": 1.0},
            "peak_memory_mb": 1.0,
        }  # fmt: skip
        return {**plain, "cells": cells_of(weekly, forecasts(weekly, noise, seed))} if noise else plain

    made = [record("m5", "released", 1, 0), record("m5", "lightgbm", 3, 0), record("m5", "tide", 0, 0)]
    made += [record("etth1", "released", 0, 0), record("etth1", "lightgbm", 0, 0)]
    section = next(part for part in page(made, [], [], {}).split("## ") if part.startswith("Released file against"))
    lines = [line for line in section.splitlines() if line.startswith("| m5")]
    assert len(lines) == 1 and lines[0].startswith("| m5 | lightgbm | -6") and lines[0].endswith("| 1, 1 |")
    assert "Not measured anew since records hold such errors: etth1." in section
