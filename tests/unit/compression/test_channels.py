"""Channels really leave a network, the dead ones first, and take their part of every layer with them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.compression.channels import ChannelPrunable, Channels
from tasks.compression.export import export_onnx
from tasks.compression.narrowing import importance
from tasks.compression.runtime import run_onnx
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches
from tasks.problems.blocks.outputs import outputs
from tasks.problems.models import build_model


class Residual(nn.Module):
    """x (n, 3, 8) -> (n, 2): four channels that two convolutions add to, and a head that reads a fifth number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter = nn.Conv1d(3, 4, 1)
        self.block = nn.Conv1d(4, 4, 3, padding=1)
        self.head = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        days = self.enter(x)
        days = days + torch.relu(self.block(days))
        result: torch.Tensor = self.head(torch.cat([days[:, :, -1], x[:, :1, 0]], dim=1))
        return result

    def channels(self) -> Any:
        return [([self.enter, self.block], [self.block, self.head])]


def dead(model: Residual, channel: int) -> None:
    with torch.no_grad():
        model.head.weight[:, channel] = 0
        model.block.weight[:, channel] = 0


def test_exactly_the_dead_channel_goes_and_the_answers_stay(tuner: Any, calibration: Any) -> None:
    model = Residual()
    dead(model, 2)
    x = torch.rand(7, 3, 8)
    before, kept = model(x), model.enter.weight[[0, 1, 3]].clone()
    Channels(keep=0.75, epochs=0).apply(model, tuner, calibration)
    assert torch.allclose(model(x), before, atol=1e-5)
    assert torch.equal(model.enter.weight, kept)
    assert [tuple(layer.weight.shape) for layer in (model.enter, model.block, model.head)] == [
        (3, 3, 1),
        (3, 3, 3),
        (2, 4),
    ]
    assert (model.block.in_channels, model.block.out_channels, model.head.in_features) == (3, 3, 4)


def test_a_convolutional_student_loses_its_dead_channels_and_its_file_shrinks(sales: Any, tuner: Any) -> None:
    contract, inputs = sales.dataset.contract, sales.dataset.inputs(np.arange(12))
    torch.manual_seed(0)
    model: Any = build_model(Spec(kind="tcn", channels=8, layers=3, hidden=6, embedding=2), contract).eval()
    with torch.no_grad():
        for layer in (*(block.convolution for block in model.encoder.blocks), model.decoder.from_past):
            layer.weight[:, [1, 5]] = 0
    before, size = outputs(model, Batches.of(inputs)), len(export_onnx(model, contract, inputs))
    Channels(keep=0.75, epochs=0).apply(model, tuner, lambda _: inputs)
    assert model.encoder.enter.out_channels == model.feature_width == 6
    np.testing.assert_allclose(outputs(model, Batches.of(inputs)), before, rtol=1e-5, atol=1e-5)
    data = export_onnx(model, contract, inputs)
    np.testing.assert_allclose(run_onnx(data, inputs), before, rtol=1e-4, atol=1e-4)
    gone = 2 * (16 + 1) + 3 * (8 * 8 * 3 + 8 - 6 * 6 * 3 - 6) + 2 * 6
    assert size - len(data) == pytest.approx(4 * gone, abs=16)


def test_importance_is_the_norm_in_times_the_norm_out() -> None:
    first, second = nn.Conv1d(1, 2, 2), nn.Conv1d(2, 1, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]]))
        first.bias.copy_(torch.tensor([4.0, 0.0]))  # type: ignore[union-attr]
        second.weight.copy_(torch.tensor([[[2.0], [7.0]]]))
    assert importance([first], [second]).tolist() == pytest.approx([10, 7])


def test_a_model_without_channels_is_a_configuration_error(tuner: Any, calibration: Any) -> None:
    assert isinstance(Residual(), ChannelPrunable)
    with pytest.raises(ConfigError, match="step channels: model Linear has no channels to remove; drop the step"):
        Channels(keep=0.5).apply(nn.Linear(3, 2), tuner, calibration)
