"""Errors, the naive forecast, ensembles, disturbances and examples of forecasting, worked out by hand."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tasks.core.errors import ConfigError
from tasks.problems.base import Example, Inputs
from tasks.problems.forecasting.metrics import naive_forecast, score, seasonal_naive
from tasks.problems.forecasting.options import Options

OPTIONS = Options(mean=False)


def test_errors_of_quantiles() -> None:
    actual = np.array([[10, 20], [0, 10]], dtype=np.float32)
    output = np.array([[[8, 12, 15], [15, 18, 30]], [[0.5, 1, 2], [5, 10, 20]]], dtype=np.float32)
    found = score(output, actual, OPTIONS)
    # |y - p50| is 2, 2 and 1, 0; sum |y| is 30 and 10.
    assert found.loss.tolist() == [4, 1]
    assert found.weight.tolist() == [30, 10]
    assert found.error == 0.125
    # Pinball of p10: 0.2, 0.5, 0.45, 0.5; of p50: 1, 1, 0.5, 0; of p90: 0.5, 1, 0.2, 1. Over 12, over mean |y| = 10.
    assert found.metrics["pinball"] == pytest.approx(6.85 / 12 / 10)
    assert found.metrics["rmse"] == 1.5
    assert found.metrics["bias"] == pytest.approx(0.025)
    assert found.metrics["coverage"] == 0.75


def test_the_error_weighs_rows_by_their_volume() -> None:
    actual = np.array([[100.0], [1.0]], dtype=np.float32)
    output = np.array([[[100.0]], [[2.0]]], dtype=np.float32)
    assert score(output, actual, Options(quantiles=(0.5,))).error == pytest.approx(1 / 101)


def test_what_was_not_observed_is_no_error() -> None:
    actual = np.array([[10, np.nan, 20], [np.nan, np.nan, np.nan]], dtype=np.float32)
    output = np.array([[[8, 12, 15], [500, 600, 700], [15, 18, 30]], [[1, 2, 3]] * 3], dtype=np.float32)
    found = score(output, actual, OPTIONS)
    assert found.loss.tolist() == [4, 0] and found.weight.tolist() == [30, 0]
    # The two steps that were observed, as in the case without gaps: pinball 0.2 + 1 + 0.5 and 0.5 + 1 + 1.
    assert found.metrics["pinball"] == pytest.approx(4.2 / 6 / 15)
    assert found.metrics["rmse"] == 2 and found.metrics["coverage"] == 1 and found.metrics["bias"] == 0
    assert found.steps is not None and found.steps.tolist() == [[[2, 0, 2], [0, 0, 0]], [[10, 0, 20], [0, 0, 0]]]


def test_squared_errors_of_what_was_observed() -> None:
    actual = np.array([[0.0, np.nan], [1.0, 1.0]], dtype=np.float32)
    output = np.array([[[1.0], [70.0]], [[1.0], [-1.0]]], dtype=np.float32)
    found = score(output, actual, Options(horizon=2, quantiles=(0.5,), metric="mse", positive=False))
    assert found.error == pytest.approx(5 / 3) and found.weight.tolist() == [0.5, 1]
    assert found.metrics["mae"] == pytest.approx(1) and found.metrics["bias"] == pytest.approx(-1 / 3)


def test_nothing_observed_is_no_error_at_all() -> None:
    with np.errstate(invalid="ignore"):
        found = score(np.ones((2, 3, 3), np.float32), np.full((2, 3), np.nan, np.float32), OPTIONS)
        assert np.isnan(found.error) and np.isnan(found.metrics["rmse"])


def test_the_trailing_naive_forecast_is_the_quantiles_of_the_last_observed_values() -> None:
    units = np.array([[90, 1, 2, 3, 4, 5], [90, -4, 0, 6, 0, 2]], dtype=np.float32)
    observed = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 1]], dtype=np.float32)
    options = Options(
        horizon=2, season=2, context=6, quantiles=(0.25, 0.5, 0.75), mean=True, positive=False, naive="trailing",
        naive_steps=5,
    )  # fmt: skip
    result = naive_forecast(units, options, observed)
    assert result[0].tolist() == [[2, 3, 4, 3]] * 2
    # Of -4, 2, 6 alone.
    assert result[1].tolist() == [[-1, 2, 4, pytest.approx(4 / 3)]] * 2
    whole = options.model_copy(update={"naive_steps": None})
    assert naive_forecast(units, whole, observed)[0, 0, :3].tolist() == [2.25, 3.5, 4.75]
    assert naive_forecast(units, options, observed * 0)[0].tolist() == [[2, 3, 4, 0]] * 2, "nothing is known of it"
    seasonal = Options(horizon=2, season=2, context=6)
    assert "naive" not in seasonal.model_dump() and naive_forecast(units, seasonal)[0, 0, 1] == 4


@pytest.mark.parametrize("given", [{"naive_steps": 5}, {"naive": "trailing", "naive_steps": 99}])
def test_steps_that_no_trailing_forecast_can_take_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="naive_steps: of naive: trailing alone, and at most the context of 56 steps"):
        Options(**given)


def test_the_naive_forecast_repeats_the_last_season_with_its_own_spread() -> None:
    units = np.array([[1, 2, 3, 5, 4, 9], [9, 4, 5, 3, 2, 1]], dtype=np.float32)
    result = seasonal_naive(units, Options(horizon=3, season=2, context=6, quantiles=(0.25, 0.5, 0.75), mean=False))
    # Differences to two days before: 2, 3, 1, 4 with quartiles 1.75 and 3.25; -4, -1, -3, -2 with -3.25 and -1.75.
    assert result[0].tolist() == [[4, 4, 7.25], [9, 9, 12.25], [4, 4, 7.25]]
    assert result[1].tolist() == [[0, 2, 2], [0, 1, 1], [0, 2, 2]]


def test_a_naive_forecast_may_be_negative_and_has_an_expected_value() -> None:
    units = np.array([[9, 4, 5, 3, 2, 1]], dtype=np.float32)
    options = Options(horizon=1, season=2, context=6, quantiles=(0.25, 0.5), positive=False, mean=True)
    assert seasonal_naive(units, options).tolist() == [[[-1.25, 2, 2]]]


def test_the_naive_spread_is_that_of_what_was_observed() -> None:
    units = np.array([[1, 2, 3, 5, 4, 9], [1, 0, 3, 0, 4, 0]], dtype=np.float32)
    observed = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0]], dtype=np.float32)
    options = Options(horizon=2, season=2, context=6, quantiles=(0.25, 0.5, 0.75), mean=False)
    result = seasonal_naive(units, options, observed)
    assert np.array_equal(result[0], seasonal_naive(units, options)[0]), "no gaps, no difference"
    # Of the second window only 3 - 1 and 4 - 3 were observed: quartiles 1.25 and 1.75.
    assert result[1].tolist() == [[4, 4, 5.75], [0, 0, 1.75]]
    nothing = seasonal_naive(np.zeros((1, 6), np.float32), options, np.zeros((1, 6), np.float32))
    assert not nothing.any(), "without a residual there is no spread"


def test_the_naive_forecast_has_quantiles_that_a_model_can_lose_against() -> None:
    rng = np.random.default_rng(1)
    options = Options(horizon=7, season=7, context=56, quantiles=(0.05, 0.1, 0.5, 0.9, 0.95), mean=False, metric="wql")
    values = rng.normal(20, 5, (400, 63)).astype(np.float32)
    naive = seasonal_naive(values[:, :56], options)
    assert (np.diff(naive, axis=2) >= 0).all() and naive.min() >= 0
    found = score(naive, values[:, 56:], options)
    flat = score(np.repeat(naive[:, :, 2:3], 5, axis=2), values[:, 56:], options)
    assert found.error < 0.8 * flat.error, "intervals are worth something"
    assert found.metrics["coverage"] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    ("metric", "loss", "weight", "error"),
    [
        # Twice the pinball of p10, p50 and p90, over three: 2 (0.2 + 1 + 0.5) / 3 and so on, over sum |y|.
        ("wql", [2 * (1.7 + 2.5) / 3, 2 * (1.15 + 1.5) / 3], [30, 10], 2 * 6.85 / 3 / 40),
        ("mae", [2, 0.5], [1, 1], 1.25),
    ],
)
def test_other_primary_errors(metric: Any, loss: list[float], weight: list[float], error: float) -> None:
    actual = np.array([[10, 20], [0, 10]], dtype=np.float32)
    output = np.array([[[8, 12, 15], [15, 18, 30]], [[0.5, 1, 2], [5, 10, 20]]], dtype=np.float32)
    found = score(output, actual, Options(metric=metric))
    assert found.loss == pytest.approx(np.array(loss), rel=1e-6) and found.weight.tolist() == weight
    assert found.error == pytest.approx(error, rel=1e-6)
    assert found.metrics["wape"] == 0.125
    assert found.steps is not None and found.steps.sum(axis=2) == pytest.approx(np.array([loss, weight]), rel=1e-6)


def test_other_primary_errors_leave_out_what_was_not_observed() -> None:
    actual = np.array([[10, np.nan, 20]], dtype=np.float32)
    output = np.array([[[8, 12, 15], [500, 600, 700], [15, 18, 30]]], dtype=np.float32)
    assert score(output, actual, Options(metric="mae")).error == pytest.approx(2)
    assert score(output, actual, Options(metric="wql")).error == pytest.approx(2 * 4.2 / 3 / 30)


def test_the_expected_value_is_judged_by_the_squared_error() -> None:
    actual = np.array([[3.0, 1.0]], dtype=np.float32)
    output = np.array([[[2.0, 5.0], [2.0, 1.0]]], dtype=np.float32)
    found = score(output, actual, Options(horizon=2, quantiles=(0.5,), mean=True))
    assert found.error == 0.5, "the median's"
    assert found.metrics["rmse"] == pytest.approx(2**0.5), "of 2 and 0"


def test_squared_errors_by_row() -> None:
    actual = np.array([[0.0, -2.0], [1.0, 1.0]], dtype=np.float32)
    output = np.array([[[1.0], [1.0]], [[1.0], [0.0]]], dtype=np.float32)
    found = score(output, actual, Options(horizon=2, quantiles=(0.5,), metric="mse", positive=False))
    assert found.loss.tolist() == [5, 0.5] and found.error == 2.75
    assert found.metrics["mae"] == 1.25 and found.metrics["bias"] == 0.75


def test_the_naive_forecast_of_rows_reads_their_past_units(sales: Any) -> None:
    dataset = sales.dataset
    rows = dataset.splits["test"]
    median = sales.problem().naive(dataset, rows)[:, :, 1]
    assert np.array_equal(median, dataset.inputs(rows)["units"][:, 7:12])
    assert np.array_equal(median[0], dataset.panel.units[0, 77:82]), "the five days from a week before the first target"


def test_an_ensemble_averages_level_by_level(sales: Any) -> None:
    outputs = [np.array([[[0, 2, 4]]], dtype=np.float32), np.array([[[1, 6, 20]]], dtype=np.float32)]
    mean = sales.problem().ensemble(iter(outputs))
    assert mean.tolist() == [[[0.5, 4, 12]]] and mean.dtype == np.float32


def test_losses_are_in_multiples_of_average_daily_units(sales: Any) -> None:
    problem = sales.problem(mean=False)
    contract = problem.features({"series": sales.table()}, sales.as_of).contract
    scale = contract.statistics["mean_units"]
    assert 10 < scale < 20
    hard, soft = problem.hard_loss(contract), problem.strategies().soft["absolute"]().bind(contract)
    output = torch.full((1, 5, 3), 4.0)
    # 2 (0.1 + 0.5 + 0.9) / 3 = 1 for each unit that all quantiles lie below the target.
    assert hard(output, torch.full((1, 5), 10.0)).item() == pytest.approx(6 / scale, rel=1e-5)
    assert soft(output, torch.full((1, 5, 3), 1.0), torch.zeros(1, 5)).item() == pytest.approx(3 / scale, rel=1e-5)


@pytest.fixture
def clean() -> Inputs:
    observed = np.ones((200, 20), dtype=np.float32)
    future, static = np.ones((200, 3, 2), np.float32), np.ones((200, 1), np.int64)
    return {"units": 8 * observed, "observed": observed, "future": future, "static": static}


@pytest.mark.parametrize("kind", ["noise", "missing", "shift"])
def test_disturbances_touch_past_units_only_and_not_the_original(sales: Any, clean: Inputs, kind: str) -> None:
    disturbed = sales.problem().corrupt(kind, 0.2, clean, 1)
    assert (clean["units"] == 8).all() and (clean["observed"] == 1).all()
    assert not np.array_equal(disturbed["units"], clean["units"])
    assert np.array_equal(disturbed["observed"], clean["observed"]) == (kind != "missing")
    assert disturbed["future"] is clean["future"] and disturbed["static"] is clean["static"]
    assert {name: (v.dtype, v.shape) for name, v in disturbed.items()} == {
        name: (v.dtype, v.shape) for name, v in clean.items()
    }
    again, other = (sales.problem().corrupt(kind, 0.2, clean, seed) for seed in (1, 2))
    for name in ("units", "observed"):
        assert np.array_equal(disturbed[name], again[name])
    assert np.array_equal(disturbed["units"], other["units"]) == (kind == "shift")


def test_disturbances_are_as_strong_as_they_say(sales: Any, clean: Inputs) -> None:
    shifted = sales.problem().corrupt("shift", 0.5, clean, 1)["units"]
    assert shifted[0].tolist() == [8.0] * 6 + [12.0] * 14
    missing = sales.problem().corrupt("missing", 0.25, clean, 1)
    lost = missing["observed"] == 0
    assert 0.22 < lost.mean() < 0.28
    assert (missing["units"][lost] == 0).all() and (missing["units"][~lost] == 8).all()
    noise = np.log(sales.problem().corrupt("noise", 0.3, clean, 1)["units"] / 8)
    assert 0.28 < noise.std() < 0.32 and abs(noise.mean()) < 0.02
    with pytest.raises(ConfigError, match="unknown kind 'fog'; there are: noise, missing, shift"):
        sales.problem().corrupt("fog", 0.1, clean, 1)


def test_examples_leave_out_what_was_not_observed(sales: Any) -> None:
    gap = (pl.col("series_id") == pl.col("series_id").min()) & (pl.col("date") == pl.date(2024, 7, 12))
    dataset = sales.problem().features({"series": sales.table().filter(~gap)}, date(2024, 7, 14))
    rows = dataset.splits["test"]
    assert np.argwhere(np.isnan(dataset.target(rows))).tolist() == [[0, 2]]
    shown = sales.problem().examples(dataset, rows, {"naive": sales.problem().naive(dataset, rows)}, 6)
    assert sum(example.actual.count(None) for example in shown) == 1
    (holed,) = [example for example in shown if None in example.actual]
    assert holed.actual.index(None) == 2 and holed.dates[2] == "2024-07-12"


def test_examples_show_the_largest_to_the_smallest_series(sales: Any) -> None:
    dataset = sales.dataset
    rows = np.concatenate([dataset.splits["valid"], dataset.splits["test"]])
    target = dataset.target(rows)
    band = np.stack([target - 1, target, target + 2], axis=2)
    shown = sales.problem().examples(dataset, rows, {"candidate": band, "naive": 0 * band}, 3)
    assert shown[0].dates == ("2024-07-10", "2024-07-11", "2024-07-12", "2024-07-13", "2024-07-14")
    volumes = sorted((float(total) for total in target[6:].sum(axis=1)), reverse=True)
    assert [sum(filter(None, example.actual)) for example in shown] == [volumes[0], volumes[2], volumes[5]]
    for example in shown:
        line = dataset.panel.names.tolist().index(example.title)
        assert list(example.actual) == dataset.panel.units[line, 84:89].tolist()
        assert list(example.past) == dataset.panel.units[line, 70:84].tolist()
        assert example.curves == {"candidate": example.actual, "naive": (0, 0, 0, 0, 0)}
        assert example.low[0] == target_of(example) - 1 and example.high[0] == target_of(example) + 2


def target_of(example: Example) -> float:
    """On the first day."""
    assert example.actual[0] is not None
    return example.actual[0]
