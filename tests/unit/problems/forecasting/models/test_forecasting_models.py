"""Forecasting models: what each gives, sees and learns with, and how they are built."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, IntegrityError
from tasks.problems.blocks.features import Featured
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.weights import count_parameters, load_weights, save_weights
from tasks.problems.forecasting.models.linear_mlp import LinearMlp
from tasks.problems.forecasting.models.patch import Patch
from tasks.problems.forecasting.models.patches import Patches
from tasks.problems.forecasting.models.recurrent import RecurrentOptions, SeasonalRecurrence
from tasks.problems.forecasting.models.tcn import CausalEncoder, TcnOptions
from tasks.problems.models import build_model
from tests.unit.problems.forecasting.models.windows import (
    CONTRACT,
    SMALL,
    contract_of,
    forecast,
    model_of,
    seen_by,
    windows_of,
)

NORMALISE = ("scale", "standard", "last")
ENCODED = ("lstm", "gru", "bilstm", "tcn", "cnn", "transformer")


def test_a_fresh_student_forecasts_the_seasonal_average() -> None:
    model = model_of("linear-mlp")
    assert isinstance(model, LinearMlp)
    nn.init.zeros_(model.output.weight)
    windows = windows_of(1)
    windows["units"][0] = torch.tensor([14.0, 0, 0, 0, 0, 0, 0, 28.0, 0, 0, 0, 0, 0, 0])
    # Same weekday (14 + 28) / 2 = 21, all days 42 / 14 = 3; scale (42 + 1) / (14 + 1), half of it to each side.
    found = forecast(model, windows)[0]
    assert found[0].tolist() == pytest.approx([12 - 43 / 30, 12, 12 + 43 / 30], rel=1e-5)
    assert found[1].tolist() == pytest.approx([1.5 - 43 / 30, 1.5, 1.5 + 43 / 30], rel=1e-4)


def shake(model: nn.Module) -> nn.Module:
    """Weights that no longer stand where training starts."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize(("mean", "positive", "normalise"), [*product((False, True), (True, False), NORMALISE)])
@pytest.mark.parametrize("kind", SMALL)
def test_every_model_gives_ordered_quantiles_of_any_window(
    kind: str, mean: bool, positive: bool, normalise: str
) -> None:
    contract = contract_of(context=16, mean=mean, positive=positive, normalise=normalise)
    model = model_of(kind, contract)
    windows = windows_of(9, contract)
    units, observed = windows["units"], windows["observed"]
    units[3] = observed[3] = 0
    units[4] *= 1000
    units[5] = 4
    if not positive:
        units[6] -= 100
    shake(model)
    with torch.no_grad():
        output = forecast(model, windows)
    assert output.shape == (9, 5, 3 + mean) and output.isfinite().all()
    assert (output[:, :, :3].diff(dim=2) >= 0).all()
    assert (output < 0).any() != positive and output.max() > 0


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("normalise", ["standard", "last"])
def test_centred_models_move_with_their_window(kind: str, normalise: str) -> None:
    contract = contract_of(normalise=normalise, positive=False, mean=True)
    model, windows = model_of(kind, contract), windows_of(3, contract)
    higher = {**windows, "units": windows["units"] + 50}
    with torch.no_grad():
        difference = forecast(model, higher) - forecast(model, windows)
    assert torch.allclose(difference, torch.full_like(difference, 50), atol=1e-3)


@pytest.mark.parametrize("kind", SMALL)
def test_features_are_those_that_the_output_is_made_of(kind: str) -> None:
    model = model_of(kind)
    inputs = seen_by(model, windows_of(4))
    assert isinstance(model, Featured)
    output, features = model.with_features(*inputs)
    assert features.shape == (4, model.feature_width) and not torch.equal(features[0], features[1])
    assert torch.equal(model.features(*inputs), features) and torch.equal(model(*inputs), output)
    slopes = torch.autograd.grad(features.sum(), list(model.parameters()), allow_unused=True)
    assert any(slope is not None and slope.abs().sum() > 0 for slope in slopes)


@pytest.mark.parametrize("kind", SMALL)
def test_every_model_uses_every_input_that_it_takes_and_learns_with_every_weight(kind: str) -> None:
    model, windows = shake(model_of(kind)), windows_of(4)
    changed = {
        "units": [windows["units"] * 1.2],
        "observed": [windows["observed"] * torch.cat([torch.zeros(3), torch.ones(11)])],
        "future": [windows["future"] + 1],
        "static": [windows["static"] - torch.eye(3, dtype=torch.int64)[column] for column in range(3)],
        "past": [windows["past"] + 1],
        "calendar": [windows["calendar"] + 1],
    }
    with torch.no_grad():
        before = forecast(model, windows)
        for name in inputs_of(model, CONTRACT.inputs):
            for values in changed[name]:
                assert not torch.equal(forecast(model, {**windows, name: values}), before), name
    forecast(model, windows).sum().backward()  # type: ignore[no-untyped-call]
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


STUDENTS = ("linear", "linear-mlp", "patch", "rnn")


@pytest.mark.parametrize("kind", SMALL)
def test_small_students_take_the_students_inputs_and_the_others_more_in_the_contracts_order(kind: str) -> None:
    own = ["units", "observed", "future", "static"]
    expected = own if kind in STUDENTS else [*own, "past"] if kind == "attention" else list(CONTRACT.inputs)
    assert list(inputs_of(model_of(kind), CONTRACT.inputs)) == expected


@pytest.mark.parametrize("kind", [*STUDENTS, "mlp", "attention", "lstm"])
def test_each_place_in_the_season_has_a_forecast_of_its_own(kind: str) -> None:
    """The calendar of a student is the place in the season where the forecast begins: one row of a table each."""
    model, windows = shake(model_of(kind)), {name: values[:1] for name, values in windows_of(1).items()}
    rows = {name: values.expand(7, *values.shape[1:]).clone() for name, values in windows.items()}
    rows["static"][:, 0] = torch.arange(7)
    with torch.no_grad():
        found = forecast(model, rows)
    assert len(torch.unique(found, dim=0)) == 7


@pytest.mark.parametrize("kind", ["rnn", "multi-rnn", "lstm", "gru", "bilstm", "transformer"])
def test_shorter_patches_than_a_season_are_more_steps_of_fewer_weights(kind: str) -> None:
    whole, pieces = (model_of(kind, contract_of(context=35, season=35), patch=patch) for patch in (None, 5))
    steps = [part.steps for part in pieces.modules() if isinstance(part, Patches)]
    assert steps[0] == 7 and count_parameters(pieces) < count_parameters(whole)
    assert forecast(pieces, windows_of(2, contract_of(context=35, season=35))).isfinite().all()


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_student_may_take_the_covariates_of_the_past_too(kind: str) -> None:
    plain, seeing, windows = model_of(kind), model_of(kind, past=True), windows_of(4)
    shake(plain)
    seeing.load_state_dict(plain.state_dict(), strict=False)
    other = {**windows, "past": windows["past"] + 1}
    assert list(inputs_of(seeing, CONTRACT.inputs)) == ["units", "observed", "future", "static", "past"]
    with torch.no_grad():
        assert torch.equal(forecast(seeing, windows), forecast(plain, windows)), "where training starts"
        assert torch.equal(forecast(seeing, other), forecast(seeing, windows))
    assert count_parameters(seeing) - count_parameters(plain) == 2 * 5
    shake(seeing)
    with torch.no_grad():
        assert not torch.equal(forecast(seeing, other), forecast(seeing, windows))
    forecast(seeing, windows).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in seeing.parameters())


def test_a_cycle_adds_its_row_of_the_table_to_every_step() -> None:
    # Signed, or an amount's lowest quantile would be cut off at zero.
    model, windows = model_of("patch", contract_of(positive=False), cycle=True), windows_of(3)
    assert isinstance(model, Patch) and model.cycle is not None
    windows["static"][:, 0] = torch.tensor([0, 4, 4])
    with torch.no_grad():
        before = forecast(model, windows)
        # Five steps of three raw numbers, of which the first is the lowest quantile: all rise with it.
        model.cycle.weight[4] = torch.tensor([1.0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        _, scale = model.norm(windows["units"], windows["observed"])
        more = (forecast(model, windows) - before) / scale.unsqueeze(2)
    expected = torch.tensor([1.0, 2, 0, 0, 0]).unsqueeze(1).expand(5, 3)
    torch.testing.assert_close(more, torch.stack([torch.zeros(5, 3), expected, expected]), atol=1e-5, rtol=0)
    plain = model_of("patch")
    assert count_parameters(model) - count_parameters(plain) == 7 * 5 * 3


@pytest.mark.parametrize("name", ["future", "calendar"])
@pytest.mark.parametrize("kind", ENCODED)
def test_a_future_day_of_a_teacher_hangs_on_its_own_covariates_only(kind: str, name: str) -> None:
    model, windows = model_of(kind), windows_of(2)
    other = windows[name].clone()
    other[:, 2] += 1
    with torch.no_grad():
        same = (forecast(model, windows) == forecast(model, {**windows, name: other})).all(dim=2).all(dim=0)
    assert same.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind not in ("linear", "patch")])
def test_dropout_acts_in_training_only(kind: str) -> None:
    model = model_of(kind, dropout=0.5)
    inputs = seen_by(model, windows_of(2))
    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))


def test_the_lstm_reads_whole_weeks_from_the_first_to_the_last() -> None:
    encoder = SeasonalRecurrence("lstm", False, RecurrentOptions(hidden=3), contract_of(context=22)).eval()
    seen: list[Tensor] = []
    encoder.cells.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    window = torch.arange(154.0).reshape(1, 22, 7)
    assert encoder(window).shape == (1, 3)
    # Of 22 days the first is left out; three weeks of seven days with seven channels each remain.
    assert seen[0].shape == (1, 3, 49) and seen[0][0, 0].tolist() == list(range(7, 56))
    changed = torch.zeros(1, 22, 7)
    changed[0, 1] = 1
    assert not torch.equal(encoder(changed), encoder(torch.zeros(1, 22, 7)))


def dilated(encoder: CausalEncoder, window: Tensor) -> Tensor:
    """The last day's state of the network as it is usually written: all days kept, dilations 1, 2, 4…"""
    days: Tensor = encoder.enter(window.transpose(1, 2))
    for layer, block in enumerate(encoder.blocks):
        convolution = block.convolution
        assert isinstance(convolution, nn.Conv1d)
        reach = (convolution.kernel_size[0] - 1) * 2**layer
        padded = functional.pad(days, (reach, 0))
        days = days + functional.relu(
            functional.conv1d(padded, convolution.weight, convolution.bias, dilation=2**layer)
        )
    return days[:, :, -1]


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("context", [13, 14, 15, 16])
def test_leaving_days_out_changes_nothing_of_the_last_days_state(context: int, kernel: int) -> None:
    torch.manual_seed(0)
    encoder = CausalEncoder(3, TcnOptions(channels=4, layers=4, kernel=kernel)).eval()
    window = torch.randn(2, context, 3)
    torch.testing.assert_close(encoder(window), dilated(encoder, window))


def test_the_tcn_sees_as_far_back_as_its_layers_reach() -> None:
    torch.manual_seed(0)
    encoder = CausalEncoder(1, TcnOptions(channels=8, layers=2, kernel=3)).eval()
    window = torch.randn(1, 14, 1, requires_grad=True)
    encoder(window).sum().backward()
    assert window.grad is not None
    # Kernel 3 with dilations 1 and 2 reaches back 2 + 4 days from the last one.
    assert (window.grad[0, :, 0] != 0).tolist() == [False] * 7 + [True] * 7


def test_equal_seeds_give_equal_first_weights() -> None:
    first, second = (save_weights(model_of("lstm")) for _ in range(2))
    assert first == second
    torch.manual_seed(1)
    assert save_weights(build_model(Spec(kind="lstm", **SMALL["lstm"]), CONTRACT)) != first


def test_weights_are_stored_and_put_back() -> None:
    model = model_of("tcn")
    torch.manual_seed(5)
    other = build_model(Spec(kind="tcn", **SMALL["tcn"]), CONTRACT).eval()
    windows = windows_of(2)
    assert not torch.equal(forecast(other, windows), forecast(model, windows))
    load_weights(other, save_weights(model))
    assert torch.equal(forecast(other, windows), forecast(model, windows))
    with pytest.raises(IntegrityError, match="stored weights do not fit LinearMlp"):
        load_weights(model_of("linear-mlp"), save_weights(model))
    with pytest.raises(IntegrityError, match="stored weights do not fit Tcn"):
        load_weights(model, save_weights(model)[:-1])


def test_the_students_weights_are_counted() -> None:
    # Embeddings 2 x (7 + 3 + 2); covariates 3 x (2 + 3) + 5; hidden (14 + 1 + 6 + 5 x 5) x 6 + 6; output 6 x 15;
    # skip 14 x 15.
    assert count_parameters(model_of("linear-mlp")) == 24 + 20 + 282 + 90 + 210


def test_only_the_hidden_layer_of_the_student_may_be_narrowed() -> None:
    model = model_of("linear-mlp")
    assert isinstance(model, LinearMlp)
    assert [(one.out_features, other.in_features) for one, other in model.prunable()] == [(6, 6)]


@pytest.mark.parametrize("kind", SMALL)
def test_a_workload_may_have_no_static_columns(kind: str) -> None:
    """The phase alone is left."""
    contract = replace(
        CONTRACT,
        inputs={**CONTRACT.inputs, "static": ("int64", (1,))},
        categories={"phase": CONTRACT.categories["phase"]},
    )
    assert forecast(model_of(kind, contract), windows_of(3, contract)).shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("forest", {}, "model.kind: unknown kind 'forest' for forecasting; there are: lstm, gru, bilstm, tcn, cnn"),
        ("cnn", {"kernels": (0,)}, "model.kernels.0 of kind cnn: Input should be greater than 0, got 0"),
        ("transformer", {"width": 9, "heads": 2}, "model.width of kind transformer: expected a multiple of 2 heads"),
        ("lstm", {"depth": 3}, "model.depth of kind lstm: Extra inputs are not permitted, got 3"),
        ("lstm", {"hidden": 0}, "model.hidden of kind lstm: Input should be greater than 0, got 0"),
        ("tcn", {"kernel": 1}, "model.kernel of kind tcn: Input should be greater than 1, got 1"),
        ("linear-mlp", {"dropout": 1.0}, "model.dropout of kind linear-mlp: Input should be less than 1, got 1.0"),
    ],
)
def test_an_unknown_kind_or_option_is_refused_by_name(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(Spec(kind=kind, **options), CONTRACT)
