"""Quantiles are moved to where rows say that they belong which no training saw: later ones are then covered as said."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from tasks.compression.correction import corrected
from tasks.compression.export import OPSET
from tasks.compression.runtime import run_onnx
from tasks.core.errors import ConfigError
from tasks.problems.base import Floats
from tasks.problems.forecasting.conformal import Conformal, fit
from tasks.problems.forecasting.metrics import score
from tasks.problems.forecasting.options import Options, parse_options

HORIZON = 6
PLAIN: dict[str, Any] = {"horizon": HORIZON, "context": 14, "mean": False, "calibrate": "conformal"}


def rows(count: int, seed: int, signed: bool = False) -> tuple[Floats, NDArray[np.float32]]:
    """Forecasts of small and large series, half of whose days are zero: bands are too narrow, and begin above zero."""
    random = np.random.default_rng(seed)
    size = random.choice([2.0, 20.0, 60.0], (count, 1)) * random.uniform(0.8, 1.2, (count, 1))
    truth = random.gamma(2.0, size / 2, (count, HORIZON)) * (random.random((count, HORIZON)) < 0.6)
    truth = truth - size if signed else np.round(truth)
    middle = np.repeat(0.5 * size - (size if signed else 0), HORIZON, axis=1)
    band = 0.35 * size * random.uniform(0.9, 1.1, (count, HORIZON))
    forecast = np.stack([middle - band, middle, middle + band], axis=2)
    return forecast.astype(np.float32), truth.astype(np.float32)


def fitted(given: Floats, truth: NDArray[np.floating], options: Options, stretches: int = 8) -> Conformal | None:
    """The correction of rows whose origins are a horizon apart, so many of them, the same number of rows at each."""
    origins = np.arange(len(given)) * stretches // max(1, len(given)) * HORIZON
    return fit(given, truth, origins, options)


def test_bands_cover_later_rows_as_they_say_and_fit_no_worse() -> None:
    options = parse_options(PLAIN)
    given, truth = rows(800, 1)
    found = fitted(given, truth, options)
    assert found is not None
    later, came = rows(800, 2)
    before, after = (score(output, came, options) for output in (later, found.apply(later)))
    assert before.metrics["coverage"] < 0.6
    assert 0.78 <= after.metrics["coverage"] <= 0.82
    assert after.metrics["pinball"] < before.metrics["pinball"]
    outside = came < found.apply(later)[:, :, 0]
    assert outside.mean() < 0.12 and (came > found.apply(later)[:, :, 2]).mean() < 0.12, "either side by itself"


@pytest.mark.parametrize("off", [0.5, 2.0])
def test_what_a_median_was_off_by_is_no_rule_for_later_rows(off: float) -> None:
    """Validation rows were all sold at half the price, or twice: bands learn to cover that, the forecast stays."""
    options = parse_options(PLAIN)
    given, truth = rows(800, 1)
    found = fitted(given, off * truth, options)
    assert found is not None
    later, came = rows(800, 2)
    moved = found.apply(later)
    np.testing.assert_array_equal(moved[:, :, 1], later[:, :, 1])
    assert score(moved, came, options).error == score(later, came, options).error
    assert score(moved, off * came, options).metrics["coverage"] > score(later, off * came, options).metrics["coverage"]


def test_a_band_that_is_too_wide_is_made_narrower() -> None:
    options = parse_options(PLAIN | {"positive": False, "normalise": "standard", "metric": "mae"})
    given, truth = rows(800, 3, signed=True)
    wide = given[:, :, 1:2] + 8 * (given - given[:, :, 1:2])
    found = fitted(wide, truth, options)
    assert found is not None
    assert score(wide, truth, options).metrics["coverage"] > 0.95
    assert score(found.apply(wide), truth, options).metrics["coverage"] < 0.83


@pytest.mark.parametrize("steps", [HORIZON, HORIZON - 1])
@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_the_graph_says_the_same_and_nothing_crosses(steps: int, mean: bool, positive: bool) -> None:
    random = np.random.default_rng(4)
    levels = 5
    found = Conformal(
        shifts=random.normal(0, 0.5, (3, 2, levels)).tolist(), edges=(5.0, 9.0),
        blocks=(0,) * 3 + (1,) * (steps - 3), median=2, positive=positive, mean=mean,
    )  # fmt: skip
    given: Floats = np.sort(random.normal(4, 5, (200, steps, levels)), axis=2).astype(np.float32)
    given = np.maximum(given, 0) if positive else given
    given = np.concatenate([given, given[:, :, 2:3]], axis=2) if mean else given
    corrected_rows = found.apply(given)
    np.testing.assert_allclose(run_onnx(corrected(as_it_is(given), found), {"given": given}), corrected_rows, atol=1e-4)
    for lower, upper in pairwise(range(levels)):
        assert (corrected_rows[:, :, lower] <= corrected_rows[:, :, upper] + 1e-5).all()
    assert not positive or corrected_rows.min() >= 0
    assert np.array_equal(corrected_rows[:, :, levels:], given[:, :, levels:]), "expected values stay"


def as_it_is(given: Floats) -> bytes:
    """A model whose output is its input."""
    ends = [helper.make_tensor_value_info(name, 1, ["batch", *given.shape[1:]]) for name in ("given", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["given"], ["output"])], "plain", ends[:1], ends[1:])
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10
    ).SerializeToString()
    return model


def test_nothing_is_corrected_where_rows_are_few_unknown_or_no_better_for_it() -> None:
    options = parse_options(PLAIN)
    given, truth = rows(400, 5)
    assert fitted(given[:4], truth[:4], options) is None
    assert fitted(given[:0], truth[:0], options) is None
    assert fitted(np.full_like(given, np.nan), truth, options) is None
    assert fitted(np.where(np.arange(3) == 1, np.nan, given).astype(np.float32), truth, options) is None, "no median"
    assert fitted(given, np.full_like(truth, np.nan), options) is None
    assert fitted(np.repeat(given[:, :, 1:2], 3, axis=2), truth, options) is None, "no band"
    right = np.quantile(truth, [0.1, 0.5, 0.9])
    exact = np.broadcast_to(right, given.shape).astype(np.float32)
    assert fitted(exact, truth, options) is None or score(exact, truth, options).metrics["coverage"] > 0.75


def test_steps_that_nobody_saw_do_not_count() -> None:
    options = parse_options(PLAIN)
    given, truth = rows(400, 6)
    holes = truth.copy()
    holes[np.random.default_rng(1).random(truth.shape) < 0.3] = np.nan
    found = fitted(given, holes, options)
    assert found is not None
    assert 0.76 <= score(found.apply(given), truth, options).metrics["coverage"] <= 0.84


def test_signed_values_are_corrected_below_zero_too() -> None:
    options = parse_options(PLAIN | {"positive": False, "normalise": "standard", "metric": "mae"})
    given, truth = rows(800, 7, signed=True)
    found = fitted(given, truth, options)
    assert found is not None
    assert 0.78 <= score(found.apply(given), truth, options).metrics["coverage"] <= 0.83


def test_a_single_quantile_has_no_band_to_correct() -> None:
    with pytest.raises(ConfigError, match=r"calibrate: conformal moves quantiles on both sides of the median"):
        parse_options(PLAIN | {"quantiles": [0.5]})
    assert "calibrate" not in Options(**{k: v for k, v in PLAIN.items() if k != "calibrate"}).model_dump()


def test_the_bias_of_an_expected_value_is_told_beside_that_of_the_median() -> None:
    options = parse_options(PLAIN | {"mean": True})
    given, truth = rows(50, 8)
    output = np.concatenate([given, np.full_like(given[:, :, :1], 1.1 * truth.mean())], axis=2)
    metrics = score(output, truth, options).metrics
    assert metrics["mean_bias"] == pytest.approx(0.1, abs=1e-4)
    assert metrics["bias"] != metrics["mean_bias"]


def with_mean(given: Floats, truth: NDArray[np.float32], times: Any) -> Floats:
    """Forecasts beside whose quantiles stands `times` what the days of a series of that size bring on average."""
    size = truth.mean(axis=1, keepdims=True) + 0 * truth
    return np.concatenate([given, (times * size)[:, :, None]], axis=2).astype(np.float32)


def test_an_expected_value_that_is_off_for_all_rows_is_moved_to_the_truth_inside_the_file_too() -> None:
    options = parse_options(PLAIN | {"mean": True})
    given, truth = rows(800, 9)
    found = fitted(with_mean(given, truth, 1.25), truth, options)
    assert found is not None
    later, came = rows(800, 10)
    output = with_mean(later, came, 1.25)
    moved = found.apply(output)
    assert score(output, came, options).metrics["mean_bias"] == pytest.approx(0.25, abs=1e-3)
    assert abs(score(moved, came, options).metrics["mean_bias"]) < 0.01
    of_file = run_onnx(corrected(as_it_is(output), found), {"given": output})
    np.testing.assert_allclose(of_file[:, :, 3], moved[:, :, 3], rtol=1e-5)
    # The quantiles are those of a correction that knows no mean.
    plain = fitted(given, truth, parse_options(PLAIN))
    assert plain is not None and np.array_equal(moved[:, :, :3], plain.apply(later))


@pytest.mark.parametrize("opposite", [(0.7, 0.7, 1.3, 1.3), (0.7, 1.3) * 4])
def test_an_expected_value_whose_stretches_of_time_ask_for_opposite_factors_stays(opposite: tuple[float, ...]) -> None:
    options = parse_options(PLAIN | {"mean": True})
    given, truth = rows(800, 11)
    times = np.repeat(opposite, 800 // len(opposite))[:, None]
    found = fitted(with_mean(given, truth, times), truth, options, len(opposite))
    assert found is not None and found.factor == 1
    seasons = fitted(with_mean(given, np.zeros_like(truth), 0), truth, options)
    assert seasons is not None and seasons.factor == 1, "there is no ratio to a sum of zero"


def test_one_bad_week_that_all_origins_see_is_no_evidence_of_a_bias() -> None:
    options = parse_options(PLAIN | {"mean": True})
    given, truth = rows(800, 13)
    given = with_mean(given, truth, 1.25)
    for origins in (np.repeat([0, 2, 4, 6], 200), np.repeat([0, HORIZON, 2 * HORIZON], [200, 200, 400])):
        found = fit(given, truth, origins, options)
        assert found is not None and found.factor == 1, "all origins share their days, or there are few of them"
    found = fit(given, truth, np.repeat([0, 1, 2, 3, 4], 160) * (HORIZON - 1), options)
    assert found is not None and found.factor == pytest.approx(0.8, abs=1e-3), "25 days and five: four horizons"


def test_an_expected_value_is_corrected_where_quantiles_are_right_already() -> None:
    options = parse_options(PLAIN | {"mean": True})
    given, truth = rows(400, 12)
    none = with_mean(np.repeat(given[:, :, 1:2], 3, axis=2), truth, 1.25)  # no band: nothing to move
    found = fitted(none, truth, options)
    assert found is not None and found.factor == pytest.approx(0.8, abs=1e-3)
    assert np.array_equal(found.apply(none)[:, :, :3], none[:, :, :3])
    of_file = run_onnx(corrected(as_it_is(none), found), {"given": none})
    np.testing.assert_allclose(of_file, found.apply(none), rtol=1e-5, atol=1e-5)
