"""Boosted trees as a teacher: what they learn, give, and are as a file."""

import logging
import re
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.distillation.teacher import Mean
from tasks.distillation.trainer import predict
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Floats, Rows
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.trees import Trees
from tasks.problems.blocks.weights import count_parameters
from tasks.problems.forecasting.models.boosting.boosted import Boosted
from tasks.problems.models import build_model
from tests.unit.problems.forecasting.models.week import CONTEXT, HORIZON, WEEK, Week
from tests.unit.problems.forecasting.models.windows import forecast, windows_of
from tests.weather import AS_OF, PROBLEM, weather_table

SMALL = {"trees": 30, "leaves": 8, "learning_rate": 0.2, "min_leaf": 5}


def fitted(dataset: Week = WEEK, seed: int = 3, **options: Any) -> Boosted:
    model = build_model(Spec(kind="lightgbm", **{**SMALL, **options}), dataset.contract).eval()
    assert isinstance(model, Boosted)
    losses = model.fit(dataset, dataset.splits["train"], dataset.splits["valid"], seed=seed)
    assert len(losses) == dataset.contract.output_shape[1] and np.isfinite(losses).all()
    return model


def to_file(model: torch.nn.Module, dataset: Week = WEEK) -> bytes:
    return export_onnx(model, dataset.contract, dataset.inputs(np.arange(2)))


@pytest.fixture(scope="module")
def model() -> Boosted:
    return fitted()


def test_it_learns_weekdays_and_promotions_that_the_naive_forecast_cannot_know(model: Boosted) -> None:
    problem = get_problem(Spec(kind="forecasting", horizon=HORIZON, context=CONTEXT, mean=False))
    valid = WEEK.splits["valid"]
    target, output = WEEK.target(valid), predict(model, WEEK, valid)
    naive = problem.score(problem.naive(WEEK, valid), target).error
    assert problem.score(output, target).error < 0.5 * naive
    inputs = {name: torch.from_numpy(values) for name, values in WEEK.inputs(valid).items()}
    with torch.no_grad():
        without, promoted = (
            forecast(model, {**inputs, "future": torch.full_like(inputs["future"], flag)})[:, :, 1] for flag in (0, 1)
        )
    assert 1.6 < (promoted.sum() / without.sum()).item() < 2.4, "a promotion doubles a day"
    inside = ((target >= output[:, :, 0]) & (target <= output[:, :, 2])).mean()
    assert 0.5 < inside < 0.98


class Holed(Week):
    """Half of the targets were never observed."""

    def target(self, rows: Rows) -> Floats:
        known = np.random.default_rng(1).random((len(self.origins), HORIZON)) < 0.5
        return np.where(known[rows], super().target(rows), np.float32(np.nan))


def test_it_is_not_drawn_to_zero_by_what_was_not_observed(model: Boosted) -> None:
    holed, valid = fitted(Holed()), WEEK.splits["valid"]
    output, whole = (predict(trees, WEEK, valid)[:, :, 1] for trees in (holed, model))
    assert output.mean() == pytest.approx(whole.mean(), rel=0.05)
    problem = get_problem(Spec(kind="forecasting", horizon=HORIZON, context=CONTEXT, mean=False))
    naive = problem.score(problem.naive(WEEK, valid), WEEK.target(valid)).error
    assert problem.score(predict(holed, WEEK, valid), WEEK.target(valid)).error < 0.6 * naive


@pytest.mark.parametrize("positive", [True, False])
def test_quantiles_never_cross_and_amounts_are_not_negative(positive: bool) -> None:
    levels = (0.1, 0.4, 0.5, 0.6, 0.9)
    dataset = Week(quantiles=levels, positive=positive, normalise="last")
    model = fitted(dataset, trees=5, leaves=4)
    windows = windows_of(200, dataset.contract)
    windows["units"] -= 0 if positive else 20
    with torch.no_grad():
        lines = model.inputs(*(windows[name] for name in model.uses)).reshape(-1, model.inputs.width)
        alone = torch.cat([trees(lines) for trees in model.trees], dim=1)
        output = forecast(model, windows)
    assert (alone.diff(dim=1) < 0).any(), "none crosses by itself, so nothing is shown"
    assert (output.diff(dim=2) >= 0).all() and output.max() > 0
    assert (output < 0).any() != positive
    centre, scale = model.inputs.norm(windows["units"], windows["observed"])
    lowest, _, median, *_ = (alone.reshape(200, HORIZON, 5) * scale.unsqueeze(2) + centre.unsqueeze(2)).unbind(dim=2)
    assert (lowest < 0).any(), "none is negative by itself, so nothing is shown"
    torch.testing.assert_close(output[:, :, 2], median.relu() if positive else median)


@pytest.mark.parametrize(
    "options", [{}, {"mean": True, "normalise": "standard"}, {"quantiles": (0.5,), "metric": "mse", "positive": False}]
)
def test_the_file_gives_what_lightgbm_gives_of_the_inputs_that_it_takes(options: dict[str, Any]) -> None:
    dataset = Week(**options)
    model = fitted(dataset)
    data, rows = to_file(model, dataset), np.arange(100, 107)
    graph = onnx.load_model_from_string(data).graph
    taken = ["units", "observed", "future", "static", "calendar"]
    assert [value.name for value in graph.input] == taken == list(inputs_of(model, dataset.contract.inputs))
    assert [node.op_type for node in graph.node].count("TreeEnsembleRegressor") == dataset.contract.output_shape[1]
    for part in (rows[:1], rows):
        np.testing.assert_allclose(run_onnx(data, dataset.inputs(part)), predict(model, dataset, part), rtol=1e-5)


@pytest.mark.parametrize("normalise", ["scale", "none"])
def test_the_file_gives_the_same_where_trees_see_more_of_a_window(normalise: str) -> None:
    dataset, rows = Week(), np.arange(100, 107)
    model = fitted(dataset, lags=7, spans=(3, 5), extremes=True, newest=True, normalise=normalise)
    np.testing.assert_allclose(
        run_onnx(to_file(model, dataset), dataset.inputs(rows)), predict(model, dataset, rows), rtol=1e-5
    )


def test_the_mean_of_fold_models_is_a_file_as_well(model: Boosted) -> None:
    other, rows = fitted(seed=4), np.arange(50, 60)
    mean = Mean([model, other]).eval()
    expected = (predict(model, WEEK, rows) + predict(other, WEEK, rows)) / 2
    np.testing.assert_allclose(predict(mean, WEEK, rows), expected, rtol=1e-6)
    np.testing.assert_allclose(run_onnx(to_file(mean), WEEK.inputs(rows)), expected, rtol=1e-5)
    assert count_parameters(mean) == count_parameters(model) + count_parameters(other)


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(model: Boosted) -> None:
    data = to_file(model)
    torch.manual_seed(99)
    assert to_file(fitted()) == data
    assert to_file(fitted(seed=4)) != data


class Drifting(Week):
    """Each series walks by chance from a level of its own; what comes is where it is, and 3 more on promoted days."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        steps = np.random.default_rng(2).normal(0, 0.2, self.units.shape).cumsum(axis=1)
        levels = 200 + 40 * np.arange(len(self.units))[:, None]
        self.units: Floats = (levels + steps + 3 * self.promotion[:, :, 0]).astype(np.float32)
        self.contract = replace(self.contract, statistics={"mean_units": float(self.units.mean())})


def test_trees_may_measure_windows_in_another_way_than_the_networks_beside_them() -> None:
    dataset, problem = Drifting(), get_problem(Spec(kind="forecasting", horizon=HORIZON, context=CONTEXT, mean=False))
    valid = dataset.splits["valid"]
    by_size, model = fitted(dataset), fitted(dataset, normalise="last")
    usual, apart = (
        problem.score(predict(trees, dataset, valid), dataset.target(valid)).error for trees in (by_size, model)
    )
    assert apart < 0.8 * usual
    rows = np.arange(100, 107)
    np.testing.assert_allclose(
        run_onnx(to_file(model, dataset), dataset.inputs(rows)), predict(model, dataset, rows), rtol=1e-5
    )


class Skewed(Week):
    """Nothing on nine days of ten, and then 30: the median is 0, the mean 3."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.units: Floats = (30 * (np.random.default_rng(1).random(self.units.shape) < 0.1)).astype(np.float32)
        self.contract = replace(self.contract, statistics={"mean_units": 3.0})


@pytest.mark.parametrize("options", [{"mean": True}, {"quantiles": (0.5,), "metric": "mse"}])
def test_the_expected_value_is_one_and_the_median_is_not(options: dict[str, Any]) -> None:
    dataset = Skewed(**options)
    output = predict(fitted(dataset, trees=10, leaves=2, learning_rate=0.1), dataset, dataset.splits["train"])
    assert 2 < output[:, :, -1].mean() < 4
    if options.get("mean"):
        assert output[:, :, 1].max() < 0.1


def test_learning_ends_when_validation_gets_no_better() -> None:
    longest = fitted(trees=400, stopping=400)
    stopped = fitted(trees=400, stopping=3)
    for trees, other in zip(stopped.trees, longest.trees, strict=True):
        assert isinstance(trees, Trees) and isinstance(other, Trees)
        assert 0 < trees.booster.num_trees() <= other.booster.num_trees() < 400


def test_options_are_checked_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model\.leaves\.0 of kind lightgbm: Input should be greater than 1, got 1"):
        build_model(Spec(kind="lightgbm", leaves=1), WEEK.contract)
    with pytest.raises(ConfigError, match=r"model\.leaves of kind lightgbm: .*at least 1 item"):
        build_model(Spec(kind="lightgbm", leaves=[]), WEEK.contract)


def test_of_several_sizes_validation_rows_choose_and_the_last_fit_keeps_it(caplog: pytest.LogCaptureFixture) -> None:
    small, large = fitted(trees=15, leaves=2), fitted(trees=15, leaves=16)
    with caplog.at_level(logging.INFO, "tasks"):
        chosen = fitted(trees=15, leaves=[2, 16, 3])
    assert any("leaves and validation loss: 2 0." in record.getMessage() for record in caplog.records)
    assert chosen.leaves == 16
    assert to_file(chosen) == to_file(large) != to_file(small)
    again = build_model(Spec(kind="lightgbm", **{**SMALL, "trees": 15, "leaves": [2, 16, 3]}), WEEK.contract)
    assert isinstance(again, Boosted)
    again.fit_again(WEEK, WEEK.splits["train"], chosen.settled, seed=3)
    assert again.settled == chosen.settled
    assert to_file(again) == to_file(chosen)


def test_fitting_says_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks"):
        fitted(trees=45, stopping=45)
    gathered, *said = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"[\d,]+ steps of training rows, \d+ features, gathered in \d+ s", gathered)
    lines = [re.fullmatch(r"output (\d)/3: tree (\d+) of 45, loss \d\.\d{4}, \d+ s", line) for line in said]
    assert [match.groups() for match in lines if match] == [
        (f"{of}", f"{tree}") for of in (1, 2, 3) for tree in (20, 40)
    ]
    assert all(lines)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "past"])
def holed(request: pytest.FixtureRequest) -> tuple[Boosted, Dataset]:
    """Trees of a table that lacks the offer of every fifth day."""
    problem = get_problem(Spec(**PROBLEM))
    dataset = problem.features({"series": weather_table(shops=3).lazy()}, AS_OF)
    model = build_model(Spec(kind="lightgbm", **SMALL, past=request.param), dataset.contract).eval()
    assert isinstance(model, Boosted)
    model.fit(dataset, dataset.splits["train"], dataset.splits["valid"], seed=0)
    return model, dataset


def test_a_covariate_that_is_missing_is_none_and_no_stand_in(holed: tuple[Boosted, Dataset]) -> None:
    model, dataset = holed
    features = list(dataset.contract.settings["future_features"])
    offer = features.index("offer")
    inputs = dataset.inputs(dataset.splits["train"][:40])
    gone = inputs["future"][:, :, features.index("offer_missing")] > 0
    assert 0.1 < gone.mean() < 0.3 and features[offer + 1] == "offer_missing"

    def lines(future: Floats) -> Floats:
        with torch.no_grad():
            given = {**inputs, "future": future}
            found: Floats = model.inputs(*(torch.from_numpy(given[name]) for name in model.uses)).numpy()
        return found

    found = lines(inputs["future"])
    missing = np.isnan(found) & ~np.isnan(lines(np.zeros_like(inputs["future"])))  # but for steps that nobody observed
    columns = missing.any(axis=(0, 1))
    assert columns.sum() == (2 if model.options.past else 1), "the covariate, and what its line through the past says"
    assert (missing[:, :, columns] == gone[:, :, None]).all()
    other = inputs["future"].copy()
    other[:, :, offer][gone] = 77
    if not model.options.past:
        assert np.array_equal(lines(other), found, equal_nan=True)


def test_the_file_gives_what_lightgbm_gives_of_rows_with_missing_values(holed: tuple[Boosted, Dataset]) -> None:
    model, dataset = holed
    rows = dataset.splits["train"][:60]
    inputs = dataset.inputs(rows, model.uses)
    data = export_onnx(model, dataset.contract, {name: values[:2] for name, values in inputs.items()})
    np.testing.assert_allclose(run_onnx(data, inputs), predict(model, dataset, rows), rtol=1e-4, atol=1e-3)
    attributes = [one for node in onnx.load_model_from_string(data).graph.node for one in node.attribute]
    sent = [set(one.ints) for one in attributes if one.name == "nodes_missing_value_tracks_true"]
    assert set.union(*sent) == {0, 1}
