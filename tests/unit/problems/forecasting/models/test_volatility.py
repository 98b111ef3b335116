"""Windows of returns are normalised by their volatility: newer steps weigh more, and models see sizes without signs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.compression.export import export_onnx
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems import get_problem
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.forecasting.models.boosting.features import FeatureOptions, WindowFeatures
from tasks.problems.forecasting.models.normalise import WindowNorm
from tests.unit.problems.forecasting.models.windows import contract_of, forecast, model_of, windows_of

NO_SKIP = {"resolutions": [[16, 4]], "patch": 1, "skip": False}


def norm_of(kind: str = "volatility") -> WindowNorm:
    return WindowNorm(contract_of(context=4, season=1, normalise=kind, positive=False))


def window(*values: float) -> tuple[Tensor, Tensor]:
    """(1, 4) values, and flags of which the zeros are not observed."""
    units = torch.tensor([values], dtype=torch.float32)
    return units, (units != 0).float()


def test_scale_and_share_of_the_short_run_have_their_hand_computed_values() -> None:
    # Weights of the season's half-life 1/8, 1/4, 1/2, 1; of the context's, four steps, powers of 2^(1/4).
    values, observed = window(-8, 4, -2, 1)
    long = [0.5 ** (age / 4) for age in (3, 2, 1, 0)]
    short_run = 4 / 1.875 + 0.1  # a hundredth of 10 units is added
    long_run = sum(w * size for w, size in zip(long, (8, 4, 2, 1), strict=True)) / sum(long) + 0.1
    norm = norm_of()
    centre, scale = norm(values, observed)
    assert centre.item() == 0 and scale.item() == pytest.approx((short_run + long_run) / 2)
    told = norm.levels(values, observed, scale)
    assert told[0].tolist() == pytest.approx([scale.log().item(), short_run / scale.item()])
    sizes = norm.apply_to(values, observed, centre, scale)
    assert sizes[0].tolist() == pytest.approx([size / scale.item() - 1 for size in (8, 4, 2, 1)])


def test_what_was_lately_calm_has_the_lower_scale() -> None:
    for kind, differs in (("volatility", True), ("scale", False)):
        calm, wild = (norm_of(kind)(*window(*values))[1].item() for values in ((9, -9, 1, 1), (1, 1, 9, -9)))
        assert (calm < 0.8 * wild) == differs


def test_a_step_without_a_value_counts_neither_as_calm_nor_as_wild() -> None:
    norm = norm_of()
    values, observed = window(3, 0, -3, 3)
    centre, scale = norm(values, observed)
    assert scale.item() == pytest.approx(3.1)
    assert norm.apply_to(values, observed, centre, scale)[0, 1].item() == 0
    nothing = norm(*window(0, 0, 0, 0))[1]
    assert nothing.item() == pytest.approx(0.1), "a window without any value has a scale above zero"


@pytest.mark.parametrize(
    ("kind", "options"), [("lstm", {}), ("rnn", {}), ("rnn", NO_SKIP), ("linear", {}), ("patch", {}), ("match", {})]
)
def test_models_are_exported_and_forecast_in_proportion_to_the_volatility(kind: str, options: dict[str, Any]) -> None:
    contract = contract_of(context=16, horizon=8, season=4, normalise="volatility", positive=False)
    model = model_of(kind, contract, **options)
    windows = windows_of(5, contract)
    windows["observed"][0] = windows["units"][0] = 0
    inputs = {name: tensor.numpy() for name, tensor in windows.items()}
    data = export_onnx(model, contract, {name: values[:2] for name, values in inputs.items()})
    with torch.no_grad():
        expected = forecast(model, windows)
        wider = forecast(model, {**windows, "units": 3 * windows["units"]})
    torch.testing.assert_close(torch.from_numpy(run_onnx(data, inputs)), expected, rtol=1e-4, atol=1e-4)
    spread, wide = (values[1:, :, -1] - values[1:, :, 0] for values in (expected, wider))
    assert (wide > 2 * spread).all()


def test_without_a_skip_a_network_has_no_weight_for_each_step() -> None:
    contract = contract_of(context=16, season=4, normalise="volatility", positive=False)
    names = [name for name, _ in model_of("rnn", contract, **NO_SKIP).named_parameters()]
    assert not any("skip" in name for name in names) and "past.cells.weight_ih_l0" in names


@pytest.mark.parametrize("season", [1, 4, 30])
def test_trees_see_the_volatility_beside_the_window(season: int) -> None:
    contract = contract_of(season=season, normalise="volatility", positive=False)
    part = WindowFeatures(contract, FeatureOptions())
    windows = windows_of(3, contract)
    windows["units"][0] = windows["observed"][0] = 0
    lines = part(*(windows[name] for name in inputs_of(part, contract.inputs)))
    assert lines.shape[2] == part.width and lines[1:].isfinite().all() and not lines[0].isinf().any()


def test_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"problem\.normalise.*'volatility'"):
        get_problem(Spec(kind="forecasting", normalise="garch"))
