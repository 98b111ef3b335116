"""This step makes two thinner layers of a linear layer or a convolution, where that stores fewer weights.

What is kept is how the layer's outputs differ from one training row to another, not its weights: inputs that always
move together, such as the steps of a series, make many weights matter little, and what is put out for every row is left
to the bias (Izenman, Reduced-rank regression, 1975; for networks: Chen et al., DRONE: Data-aware Low-rank Compression
for Large NLP Models, 2021). Factoring by the weights alone: Xue et al., Restructuring of Deep Neural Network Acoustic
Models with Singular Value Decomposition (2013).
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tasks.compression.convolutions import convolutions, output_moments
from tasks.compression.layer_inputs import layer_inputs, linear_layers
from tasks.compression.step import NETWORK, Calibration, FineTune, TorchStep
from tasks.core.errors import ConfigError
from tasks.problems.blocks.factored import factored, factored_convolution, principal_directions


class LowRank(TorchStep):
    """The rank of each linear layer follows from one of two rules.

    `energy`: the smallest rank that keeps this share of the variance of the layer's outputs on `samples` training
    rows; `budget`: the largest that stores at most this share of the layer's weights. A layer that would not shrink
    stays whole. `convolutions`: these too, each as one to fewer channels and one of 1 x 1 behind it; one whose weights
    are not trained stays whole.
    """

    kind = "low-rank"
    phase = "rank"
    needs = frozenset({"float weights", "whole", "linear layers"})
    leaves = NETWORK
    energy: float | None = Field(default=None, gt=0, lt=1)
    budget: float | None = Field(default=None, gt=0, lt=1)
    samples: int = Field(default=2048, gt=0)
    convolutions: bool = False

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.energy is None) == (self.budget is None):
            raise ValueError("give exactly one of energy and budget")
        return self

    def apply(self, model: nn.Module, tune: FineTune, calibration: Calibration) -> None:
        """Factor the layers that get smaller by it and fine-tune if there are any. Raises ConfigError without layers.

        Layers are replaced by pairs, so a model must call them and not read their weights.
        """
        layers, found = linear_layers(model), convolutions(model) if self.convolutions else {}
        maps = {name: layer for name, layer in found.items() if layer.weight.requires_grad}
        if self.convolutions and not maps:
            raise ConfigError(
                f"step low-rank: model {type(model).__name__} has no convolution over all channels; leave out "
                "convolutions"
            )
        if not layers:
            raise ConfigError(
                f"step low-rank: model {type(model).__name__} has no linear layer to factor; drop the step"
            )
        rows = calibration(self.samples)
        given, moments = layer_inputs(layers, model, rows), output_moments(maps, model, rows)
        shrunk = False
        for name, layer in layers.items():
            usual = given[name].double().mean(0)
            directions, squares = principal_directions(layer.weight.detach().double(), given[name].double() - usual)
            rank = self.rank(layer, squares)
            if rank * _weights_a_rank(layer) < layer.weight.numel():
                model.set_submodule(name, factored(layer, rank, directions, usual))
                shrunk = True
        for name, convolution in maps.items():
            usual, covariance = moments[name]
            squares, directions = torch.linalg.eigh(covariance)  # weakest first
            rank = self.rank(convolution, squares.flip(0).clamp(min=0))
            if rank * _weights_a_rank(convolution) < convolution.weight.numel():
                model.set_submodule(name, factored_convolution(convolution, rank, directions.flip(1), usual))
                shrunk = True
        if shrunk and self.epochs:
            tune(model, self.epochs, self.learning_rate_factor)

    def rank(self, layer: nn.Linear | nn.Conv2d, squares: Tensor) -> int:
        """Return the rank that the rule gives a layer whose outputs have these mean squares by direction: 1 or more."""
        if self.budget is not None:
            return max(1, min(len(squares), int(self.budget * layer.weight.numel() / _weights_a_rank(layer))))
        assert self.energy is not None
        kept = squares.cumsum(0) / squares.sum().clamp(min=torch.finfo(torch.float64).tiny)
        return min(int((kept < self.energy).sum()) + 1, len(squares))


def _weights_a_rank(layer: nn.Linear | nn.Conv2d) -> int:
    """Return how many weights a pair of layers in place of this one has for each rank."""
    return layer.weight[0].numel() + len(layer.weight)
