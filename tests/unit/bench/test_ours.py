"""The benchmark's sets go through the product's source, snapshot and validation."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from bench.ours.adapt import as_of, forecasts_of
from bench.ours.nights import TABLE, UNUSED, Night, prepare
from bench.ours.record import counted
from bench.sets import BenchSet
from tasks.config.run import Run
from tasks.core.errors import DataError
from tasks.distillation.ensemble import SOFT

STUDENT = {"model": {"kind": "linear"}, "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}}


def run_of(data: BenchSet, **problem: object) -> Run:
    """A night's configuration for a set that settings.yaml does not have."""
    options = {"horizon": data.horizon, "context": data.context, "season": data.seasons[0], "min_history": 3}
    shape = {"kind": "forecasting", "static": [], "price": None, "promotions": [], **options, **problem}
    parts = {
        "teachers": {"teacher": STUDENT},
        "students": {"student": {**STUDENT, "alpha": 1.0}},
        "recipes": {"fp32": {}},
    }
    night = {"workload": data.name, "champion": 0, "source": {"kind": "table", "path": TABLE}, "as_of": as_of(data)}
    night["checks"] = {"max_volume_ratio": 10.0}
    return Run.model_validate({**UNUSED, **parts, **night, "problem": shape})


def test_the_night_sees_the_set_s_values_at_the_set_s_origins(weekly: BenchSet, tmp_path: Path) -> None:
    data = weekly.sealed()
    run = run_of(data, promotions=["promotion"], static=["shop"])
    context, windows = prepare(data, run, tmp_path)
    assert (context.artifacts / "snapshot" / "about.json").is_file()
    assert (context.artifacts / "validation" / "result.json").is_file()
    rows = windows.splits["test"]
    assert sorted({origin - data.context for origin in windows.origins[rows].tolist()}) == list(data.origins.test)
    inputs = windows.inputs(rows, ["units", "future"])
    for place, row in enumerate(rows.tolist()):
        origin, line = windows.origins[row] - data.context, windows.lines[row]
        np.testing.assert_array_equal(inputs["units"][place], weekly.values[line, origin - 27 : origin + 1])
        promoted = weekly.known["promotion"][line, origin + 1 : origin + 8]
        np.testing.assert_array_equal(inputs["future"][place][:, 0], promoted)
    assert np.isnan(windows.target(rows)[windows.origins[rows] == windows.origins[rows].max()]).all(), "test is sealed"


def test_forecasts_are_placed_by_the_set_s_own_order(toy: Callable[..., BenchSet], tmp_path: Path) -> None:
    data = toy(np.arange(1, 31) * np.array([[1], [10], [5]]), series=np.array(["z", "a", "m"]))
    _, windows = prepare(data.sealed(), run_of(data), tmp_path)

    def last(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return np.repeat(inputs["units"][:, -1:, None], 2, axis=1).repeat(4, axis=2)  # and the mean

    found = forecasts_of(windows, data, last, ["units"]).quantiles
    assert found is not None
    for place, origin in enumerate(data.origins.test):
        np.testing.assert_array_equal(found[place, :, 0, 0], data.values[:, origin])


def test_months_end_on_their_last_day_and_the_past_is_given_up_to_it(
    toy: Callable[..., BenchSet], tmp_path: Path
) -> None:
    months = np.arange("2020-01", "2022-07", dtype="datetime64[M]").astype("datetime64[us]")
    heat = np.arange(30, dtype=np.float32)[None]
    data = toy(np.arange(1, 31)[None], times=months, frequency="MS", past={"heat": heat}).sealed()
    assert as_of(data) == date(2022, 4, 30)
    run = run_of(data, frequency="1mo", covariates={"heat": {"known": "past"}})
    _, windows = prepare(data, run, tmp_path)
    rows = windows.splits["test"]
    inputs = windows.inputs(rows, ["units", "past"])
    assert inputs["units"][:, -1].tolist() == [27, 28] and [26, 27] in inputs["past"][:, -1].T.tolist()
    assert [windows.panel.time(at).date() for at in windows.origins[rows].tolist()] == [
        date(2022, 3, 1),
        date(2022, 4, 1),
    ]


def test_a_teacher_of_no_weight_is_no_part_of_what_a_student_replaces(weekly: BenchSet, tmp_path: Path) -> None:
    run = run_of(weekly).model_copy(update={"ensemble": "validation"})
    run = run.model_copy(update={"teachers": dict.fromkeys(("wrong", "right", "near"), run.teachers["teacher"])})
    context, windows = prepare(weekly.sealed(), run, tmp_path)
    truth = np.repeat(windows.target(np.arange(len(windows.origins)))[:, :, None], 4, axis=2)
    for name, factor in (("wrong", 3.0), ("right", 0.9), ("near", 1.2)):
        (folder := context.artifacts / "teachers" / name).mkdir(parents=True)
        np.save(folder / SOFT, (factor * truth).astype(np.float32))
    assert counted(Night(windows, context.artifacts, context.candidates, run)) == ["near", "right"]


def test_data_that_validation_refuses_are_not_trained_on(toy: Callable[..., BenchSet], tmp_path: Path) -> None:
    data = toy(np.where(np.arange(30) == 4, -1, 5)[None])
    with pytest.raises(DataError, match="units"):
        prepare(data.sealed(), run_of(data), tmp_path)
