"""A small network with weights from a fixed seed, and rows to measure it on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.problems.base import FeatureContract, Inputs

AfterStep = Callable[[nn.Module], None]


class Network(nn.Module):
    """x (n, 40) -> (n, 6): one hidden layer of 32 and a linear skip."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.hidden = nn.Linear(40, 32)
        self.output = nn.Linear(32, 6)
        self.skip = nn.Linear(40, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.output(torch.relu(self.hidden(x))) + self.skip(x)
        return result

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        return [(self.hidden, self.output)]


class Tuner:
    """Stands in for fine-tuning: a few gradient steps towards zero output."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def __call__(
        self, model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None
    ) -> int:
        self.calls.append((epochs, learning_rate_factor))
        weights = list(model.parameters())
        for _ in range(3 * epochs):
            gradients = torch.autograd.grad((model(torch.ones(4, 40)) ** 2).mean(), weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(0.05 * gradient)
            if after_step:
                after_step(model)
        return epochs


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def tuner() -> Tuner:
    return Tuner()


@pytest.fixture
def contract() -> FeatureContract:
    return FeatureContract("plane", {"x": ("float32", (40,))}, (6,))


@pytest.fixture
def rows() -> Inputs:
    return {"x": np.random.default_rng(0).random((300, 40), dtype=np.float32)}


@pytest.fixture
def calibration(rows: Inputs) -> Callable[[int], Inputs]:
    return lambda count: {name: values[:count] for name, values in rows.items()}


@pytest.fixture
def error() -> Callable[[NDArray[np.float32]], float]:
    return lambda output: float(np.abs(output).mean())
