"""Forecasting models: ordered quantiles, window scale, what each part can see, and how they are built."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config import Spec
from tasks.errors import ConfigError, IntegrityError
from tasks.models import build_model, count_parameters, load_weights, save_weights
from tasks.models.layers import OrderedQuantiles, StaticEmbedding, WindowScale, seasonal_average
from tasks.models.linear_mlp import LinearMlp
from tasks.models.lstm import WeeklyLstm
from tasks.models.tcn import CausalEncoder, TcnOptions
from tasks.problems.base import FeatureContract

QUANTILES = (0.1, 0.5, 0.9)
SMALL: dict[str, dict[str, int]] = {
    "lstm": {"hidden": 16, "layers": 1, "embedding": 2},
    "tcn": {"channels": 6, "layers": 3, "hidden": 16, "embedding": 2},
    "linear-mlp": {"hidden": 6, "embedding": 2, "projection": 2},
}


def contract_of(**changes: Any) -> FeatureContract:
    options = {"horizon": 5, "context": 14, "season": 7, "quantiles": QUANTILES, **changes}
    return FeatureContract(
        problem="forecasting",
        inputs={
            "history": ("float32", (options["context"], 6)),
            "future": ("float32", (options["horizon"], 4)),
            "static": ("int64", (2,)),
        },
        output_shape=(options["horizon"], len(options["quantiles"])),
        categories={"store_id": ("<unknown>", "s1", "s2"), "department": ("<unknown>", "d1")},
        statistics={"mean_units": 10.0},
        settings={"options": options},
    )


CONTRACT = contract_of()


def model_of(kind: str, contract: FeatureContract = CONTRACT, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model(Spec(kind=kind, **{**SMALL[kind], **options}), contract).eval()


def inputs_of(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    history = torch.rand(rows, 14, 6, generator=generator)
    history[:, :, 0] *= 30
    history[:, :, 1] = 1
    return history, torch.rand(rows, 5, 4, generator=generator), torch.ones(rows, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("levels", "raw", "expected"),
    [
        ((0.1, 0.5, 0.9), (2.0, 5.0, 3.0), (3.0, 5.0, 8.0)),
        ((0.1, 0.5, 0.9), (-1.0, 5.0, -2.0), (5.0, 5.0, 5.0)),
        ((0.1, 0.5, 0.9), (9.0, 5.0, 0.0), (0.0, 5.0, 5.0)),
        ((0.1, 0.5, 0.9), (0.0, -5.0, 6.0), (0.0, 0.0, 1.0)),
        ((0.1, 0.25, 0.5, 0.75, 0.9), (1.0, 2.0, 10.0, 3.0, 4.0), (7.0, 8.0, 10.0, 13.0, 17.0)),
        ((0.5, 0.8), (4.0, 1.0), (4.0, 5.0)),
    ],
)
def test_quantiles_rise_from_the_median_and_are_never_negative(
    levels: tuple[float, ...], raw: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    part = OrderedQuantiles(contract_of(quantiles=levels))
    assert part(torch.tensor([raw])).tolist() == [list(expected)]


def test_the_scale_of_a_window_is_its_mean_over_observed_days() -> None:
    history = torch.zeros(2, 14, 6)
    history[0, [3, 5, 9], 0] = torch.tensor([6.0, 9.0, 15.0])
    history[0, [3, 5, 9], 1] = 1
    # (30 + 1) / (3 + 1): one more day of a tenth of 10 units; a window without any sales has that alone.
    assert WindowScale(CONTRACT)(history).tolist() == [[7.75], [1.0]]


def test_the_seasonal_average_takes_half_from_the_same_weekday() -> None:
    weights = seasonal_average(contract_of(horizon=2, context=4, season=2))
    assert weights.tolist() == [[0.375, 0.125, 0.375, 0.125], [0.125, 0.375, 0.125, 0.375]]


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


@pytest.mark.parametrize("kind", SMALL)
def test_every_model_gives_ordered_quantiles_of_any_window(kind: str) -> None:
    model = model_of(kind)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        history, future, static = inputs_of(9)
        history[3, :, :2] = 0
        history[4, :, 0] *= 1000
        output = model(history, future, static)
    assert output.shape == (9, 5, 3) and output.isfinite().all()
    assert (output.diff(dim=2) >= 0).all() and (output >= 0).all()
    assert output.max() > 0


@pytest.mark.parametrize("kind", SMALL)
def test_every_model_uses_every_input_and_learns_with_every_weight(kind: str) -> None:
    model = model_of(kind)
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


@pytest.mark.parametrize("kind", ["lstm", "tcn"])
def test_a_future_day_of_a_teacher_hangs_on_its_own_covariates_only(kind: str) -> None:
    model = model_of(kind)
    history, future, static = inputs_of(2)
    other = future.clone()
    other[:, 2] += 1
    with torch.no_grad():
        same = (model(history, future, static) == model(history, other, static)).all(dim=2).all(dim=0)
    assert same.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("kind", ["lstm", "tcn"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    model, inputs = model_of(kind, dropout=0.5), inputs_of(2)
    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))


def test_the_lstm_reads_whole_weeks_from_the_first_to_the_last() -> None:
    encoder = WeeklyLstm(channels=2, context=21, season=7, hidden=3, layers=2, dropout=0.0)
    seen: list[Tensor] = []
    encoder.lstm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    window = torch.arange(42.0).reshape(1, 21, 2)
    assert encoder(window).shape == (1, 3)
    assert seen[0].shape == (1, 3, 14) and seen[0][0, 1].tolist() == list(range(14, 28))
    window = torch.zeros(1, 21, 2)
    window[0, 0] = 1
    assert not torch.equal(encoder(window), encoder(torch.zeros(1, 21, 2)))


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
    with pytest.raises(IntegrityError, match="stored weights do not fit Encoded"):
        load_weights(model, save_weights(model)[:-1])


def test_the_students_weights_are_counted() -> None:
    # Embeddings 2 x (3 + 2); projection 4 x 2 + 2; hidden (14 + 1 + 4 + 5 x 2) x 6 + 6; output 6 x 15 + 15;
    # skip 14 x 15; cycle 4 x 3.
    assert count_parameters(model_of("linear-mlp")) == 10 + 10 + 180 + 105 + 210 + 12


def test_only_the_hidden_layer_of_the_student_may_be_narrowed() -> None:
    model = model_of("linear-mlp")
    assert isinstance(model, LinearMlp)
    assert [(one.out_features, other.in_features) for one, other in model.prunable()] == [(6, 6)]


def test_each_static_column_has_a_table_of_its_own() -> None:
    part = StaticEmbedding(CONTRACT, 2)
    assert [table.num_embeddings for table in part.tables if isinstance(table, nn.Embedding)] == [3, 2]
    out = part(torch.tensor([[0, 1], [2, 1]]))
    assert out.shape == (2, 4)
    assert torch.equal(out[0, 2:], out[1, 2:]) and not torch.equal(out[0, :2], out[1, :2])


@pytest.mark.parametrize("kind", SMALL)
def test_a_workload_may_have_no_static_columns(kind: str) -> None:
    contract = replace(CONTRACT, inputs={**CONTRACT.inputs, "static": ("int64", (0,))}, categories={})
    history, future, _ = inputs_of(3)
    assert model_of(kind, contract)(history, future, torch.zeros(3, 0, dtype=torch.int64)).shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("forest", {}, "model.kind: unknown kind 'forest' for forecasting; there are: lstm, tcn, linear-mlp"),
        ("mlp", {}, "model.kind: unknown kind 'mlp' for forecasting"),
        ("lstm", {"depth": 3}, "model.depth of kind lstm: Extra inputs are not permitted, got 3"),
        ("lstm", {"hidden": 0}, "model.hidden of kind lstm: Input should be greater than 0, got 0"),
        ("tcn", {"kernel": 1}, "model.kernel of kind tcn: Input should be greater than 1, got 1"),
        ("linear-mlp", {"dropout": 1.0}, "model.dropout of kind linear-mlp: Input should be less than 1, got 1.0"),
    ],
)
def test_an_unknown_kind_or_option_is_refused_by_name(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(Spec(kind=kind, **options), CONTRACT)
