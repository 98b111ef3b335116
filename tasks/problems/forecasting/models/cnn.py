"""This teacher has convolutions of several lengths side by side, and a decoder of known future days."""

from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.forecasting.models.decoder import Encoded
from tasks.problems.forecasting.models.layout import Layout


class CnnOptions(Frozen):
    """`kernels` are lengths in steps. `channels`: of each kernel. `hidden`: the decoder's width."""

    kernels: tuple[PositiveInt, ...] = Field(default=(3, 7, 14), min_length=1)
    channels: int = Field(default=32, gt=0)
    layers: int = Field(default=2, gt=0)
    hidden: int = Field(default=128, gt=0)
    embedding: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class Scales(nn.Module):
    """Scales runs all kernels' convolutions over the same steps, none sees a later one: (n, in, t) -> (n, out, t)."""

    def __init__(self, entering: int, options: CnnOptions) -> None:
        super().__init__()
        self.kernels = options.kernels
        self.convolutions = nn.ModuleList(nn.Conv1d(entering, options.channels, kernel) for kernel in options.kernels)

    def forward(self, steps: Tensor) -> Tensor:
        pairs = zip(self.convolutions, self.kernels, strict=True)
        parts = [convolution(functional.pad(steps, (kernel - 1, 0))) for convolution, kernel in pairs]
        return functional.relu(torch.cat(parts, dim=1))


class MultiScaleEncoder(nn.Module):
    """The encoder maps (n, context, channels) to (n, width): last step and average of a multi-scale network's states.

    Parallel kernels after InceptionTime (Fawaz et al. 2020, arXiv:1909.04939), with residuals from the second layer on.
    """

    def __init__(self, channels: int, options: CnnOptions) -> None:
        super().__init__()
        states = len(options.kernels) * options.channels
        self.enter = Scales(channels, options)
        self.layers = nn.ModuleList(Scales(states, options) for _ in range(options.layers - 1))
        self.dropout = nn.Dropout(options.dropout)
        self.width = 2 * states

    def forward(self, window: Tensor) -> Tensor:
        states = self.enter(window.transpose(1, 2))
        for layer in self.layers:
            states = states + self.dropout(layer(states))
        return torch.cat([states[:, :, -1], states.mean(dim=2)], dim=1)


def build_cnn(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build the multi-scale convolutional teacher from unvalidated options."""
    chosen = CnnOptions.model_validate(options)
    encoder = MultiScaleEncoder(Layout.of(contract).channels, chosen)
    return Encoded(encoder, encoder.width, contract, chosen.embedding, chosen.hidden, chosen.dropout)
