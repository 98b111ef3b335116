"""Every model takes covariates as they are, past ones too, and normalises them inside its graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.base import FeatureContract, Inputs
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.forecasting.dataset import Windows
from tasks.problems.forecasting.models.boosting.features import FeatureOptions, WindowFeatures
from tasks.problems.forecasting.models.standard import Standard
from tests.unit.problems.forecasting.models.windows import SMALL, forecast, model_of, seen_by
from tests.weather import AS_OF, PROBLEM, weather_table


@pytest.fixture(scope="module")
def weather() -> Windows:
    made = get_problem(Spec(**PROBLEM)).features({"series": weather_table().lazy()}, AS_OF)
    assert isinstance(made, Windows)
    return made


def tensors(inputs: Inputs) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in inputs.items()}


def by_hand(inputs: Inputs, contract: FeatureContract) -> Inputs:
    """The inputs as a model sees them behind its first layer."""
    settings, statistics = contract.settings, contract.statistics
    future = settings["future_features"]
    changed = dict(inputs)
    for name, features in (("future", future), ("past", [*future, *settings["past_features"]])):
        changed[name] = inputs[name].copy()
        for place, feature in enumerate(features):
            if feature in ("temperature", "visitors", "floor_area"):
                mean, deviation = (statistics[part][feature] for part in ("means", "deviations"))
                changed[name][:, :, place] = (inputs[name][:, :, place] - mean) / deviation
    return changed


def without(contract: FeatureContract) -> FeatureContract:
    """The contract whose models normalise nothing."""
    rest = {name: part for name, part in contract.statistics.items() if name != "deviations"}
    return replace(contract, statistics=rest)


@pytest.mark.parametrize("kind", SMALL)
def test_a_model_is_given_raw_numbers_and_sees_normalised_ones(weather: Windows, kind: str) -> None:
    contract, inputs = weather.contract, weather.inputs(weather.splits["train"][:8])
    assert np.abs(inputs["future"]).max() >= 1700 and inputs["past"].min() < -3.5, "raw"
    raw, plain = model_of(kind, contract), model_of(kind, without(contract))
    with torch.no_grad():
        for one, other in zip(raw.parameters(), plain.parameters(), strict=True):
            one.add_(0.05 * torch.randn_like(one))
            other.copy_(one)
        found, expected = forecast(raw, tensors(inputs)), forecast(plain, tensors(by_hand(inputs, contract)))
        unlike = forecast(plain, tensors(inputs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(found, unlike, rtol=1e-2, atol=1e-1), "normalising changes nothing"
    data = export_onnx(raw, contract, {name: values[:2] for name, values in inputs.items()})
    torch.testing.assert_close(torch.from_numpy(run_onnx(data, inputs)), found, rtol=1e-4, atol=1e-3)
    if isinstance(raw, FeaturedModel):
        torch.testing.assert_close(raw.with_features(*seen_by(raw, tensors(inputs)))[0], found)


@pytest.mark.parametrize("past", [False, True])
def test_trees_see_them_so_that_their_rounding_fits_any_range(weather: Windows, past: bool) -> None:
    contract, inputs = weather.contract, weather.inputs(weather.splits["test"])
    given, plain = (WindowFeatures(each, FeatureOptions(past=past)) for each in (contract, without(contract)))
    lines, expected = (
        features(*(tensors(values)[name] for name in features.uses))
        for features, values in ((given, inputs), (plain, by_hand(inputs, contract)))
    )
    # What is missing is so to trees, where by hand its stand-in is left.
    assert lines.isnan().any()
    torch.testing.assert_close(lines.nan_to_num(0), torch.where(lines.isnan(), 0, expected), rtol=0, atol=1 / 2048)


def test_a_contract_without_them_adds_nothing() -> None:
    contract = get_problem(Spec(kind="forecasting")).draft_contract()
    standard = Standard(contract, ("future", "past"))
    future, past = torch.rand(2, 3, 5), torch.rand(2, 4, 14)
    assert standard(future, past)[0] is future and standard(future, past)[1] is past
    assert not list(standard.buffers())
