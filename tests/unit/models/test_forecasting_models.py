"""Forecasting models: what each gives, sees and learns with, and how they are built."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config import Spec
from tasks.errors import ConfigError, IntegrityError
from tasks.models import build_model, count_parameters, load_weights, save_weights
from tasks.models.features import Featured
from tasks.models.linear_mlp import LinearMlp
from tasks.models.recurrent import RecurrentOptions, SeasonalRecurrence
from tasks.models.tcn import CausalEncoder, TcnOptions
from tests.unit.models.windows import CONTRACT, SMALL, contract_of, inputs_of, model_of

NORMALISE = ("scale", "standard", "last")
ENCODED = ("lstm", "gru", "bilstm", "tcn", "cnn", "transformer")


def test_a_fresh_student_forecasts_the_seasonal_average() -> None:
    model = model_of("linear-mlp")
    assert isinstance(model, LinearMlp)
    nn.init.zeros_(model.output.weight)
    history, future, static = inputs_of(1)
    history[0, :, 0] = torch.tensor([14.0, 0, 0, 0, 0, 0, 0, 28.0, 0, 0, 0, 0, 0, 0])
    # Same weekday (14 + 28) / 2 = 21, all days 42 / 14 = 3; scale (42 + 1) / (14 + 1), half of it to each side.
    forecast = model(history, future, static)[0]
    assert forecast[0].tolist() == pytest.approx([12 - 43 / 30, 12, 12 + 43 / 30], rel=1e-5)
    assert forecast[1].tolist() == pytest.approx([1.5 - 43 / 30, 1.5, 1.5 + 43 / 30], rel=1e-4)


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
    history, future, static = inputs_of(9, contract)
    history[3, :, :2] = 0
    history[4, :, 0] *= 1000
    history[5, :, 0] = 4
    if not positive:
        history[6, :, 0] -= 100
    shake(model)
    with torch.no_grad():
        output = model(history, future, static)
    assert output.shape == (9, 5, 3 + mean) and output.isfinite().all()
    assert (output[:, :, :3].diff(dim=2) >= 0).all()
    assert (output < 0).any() != positive and output.max() > 0


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("normalise", ["standard", "last"])
def test_centred_models_move_with_their_window(kind: str, normalise: str) -> None:
    contract = contract_of(normalise=normalise, positive=False, mean=True)
    model, (history, future, static) = model_of(kind, contract), inputs_of(3, contract)
    higher = history.clone()
    higher[:, :, 0] += 50
    with torch.no_grad():
        difference = model(higher, future, static) - model(history, future, static)
    assert torch.allclose(difference, torch.full_like(difference, 50), atol=1e-3)


@pytest.mark.parametrize("kind", SMALL)
def test_features_are_those_that_the_output_is_made_of(kind: str) -> None:
    model, inputs = model_of(kind), inputs_of(4)
    assert isinstance(model, Featured)
    output, features = model.with_features(*inputs)
    assert features.shape == (4, model.feature_width) and not torch.equal(features[0], features[1])
    assert torch.equal(model.features(*inputs), features) and torch.equal(model(*inputs), output)
    slopes = torch.autograd.grad(features.sum(), list(model.parameters()), allow_unused=True)
    assert any(slope is not None and slope.abs().sum() > 0 for slope in slopes)


@pytest.mark.parametrize("kind", SMALL)
def test_every_model_uses_every_input_and_learns_with_every_weight(kind: str) -> None:
    model = shake(model_of(kind))
    history, future, static = inputs_of(4)
    with torch.no_grad():
        before = model(history, future, static)
        assert not torch.equal(model(history * torch.tensor([1.2, 1, 1, 1, 1, 1]), future, static), before)
        assert not torch.equal(model(history, future + 1, static), before)
        assert not torch.equal(model(history, future, static * torch.tensor([0, 1])), before)
        assert not torch.equal(model(history, future, static * torch.tensor([1, 0])), before)
    model(history, future, static).sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", ENCODED)
def test_a_future_day_of_a_teacher_hangs_on_its_own_covariates_only(kind: str) -> None:
    model = model_of(kind)
    history, future, static = inputs_of(2)
    other = future.clone()
    other[:, 2] += 1
    with torch.no_grad():
        same = (model(history, future, static) == model(history, other, static)).all(dim=2).all(dim=0)
    assert same.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind not in ("linear", "patch")])
def test_dropout_acts_in_training_only(kind: str) -> None:
    model, inputs = model_of(kind, dropout=0.5), inputs_of(2)
    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))


def test_the_lstm_reads_whole_weeks_from_the_first_to_the_last() -> None:
    encoder = SeasonalRecurrence("lstm", False, RecurrentOptions(hidden=3), contract_of(context=22)).eval()
    seen: list[Tensor] = []
    encoder.cells.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    window = torch.arange(132.0).reshape(1, 22, 6)
    assert encoder(window).shape == (1, 3)
    # Of 22 days the first is left out; three weeks of seven days with six channels each remain.
    assert seen[0].shape == (1, 3, 42) and seen[0][0, 0].tolist() == list(range(6, 48))
    changed = torch.zeros(1, 22, 6)
    changed[0, 1] = 1
    assert not torch.equal(encoder(changed), encoder(torch.zeros(1, 22, 6)))


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
    assert not torch.equal(other(*inputs_of(2)), model(*inputs_of(2)))
    load_weights(other, save_weights(model))
    assert torch.equal(other(*inputs_of(2)), model(*inputs_of(2)))
    with pytest.raises(IntegrityError, match="stored weights do not fit LinearMlp"):
        load_weights(model_of("linear-mlp"), save_weights(model))
    with pytest.raises(IntegrityError, match="stored weights do not fit Tcn"):
        load_weights(model, save_weights(model)[:-1])


def test_the_students_weights_are_counted() -> None:
    # Embeddings 2 x (3 + 2); covariates 4 x (2 + 3); hidden (14 + 1 + 4 + 5 x 5) x 6 + 6; output 6 x 15 + 15;
    # skip 14 x 15.
    assert count_parameters(model_of("linear-mlp")) == 10 + 20 + 270 + 105 + 210


def test_only_the_hidden_layer_of_the_student_may_be_narrowed() -> None:
    model = model_of("linear-mlp")
    assert isinstance(model, LinearMlp)
    assert [(one.out_features, other.in_features) for one, other in model.prunable()] == [(6, 6)]


@pytest.mark.parametrize("kind", SMALL)
def test_a_workload_may_have_no_static_columns(kind: str) -> None:
    contract = replace(CONTRACT, inputs={**CONTRACT.inputs, "static": ("int64", (0,))}, categories={})
    history, future, _ = inputs_of(3)
    assert model_of(kind, contract)(history, future, torch.zeros(3, 0, dtype=torch.int64)).shape == (3, 5, 3)


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
