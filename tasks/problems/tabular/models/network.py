"""Networks of labelled rows, teachers and students alike, map raw columns to a value or to class logits."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.tabular.models.encoding import Encoding

LARGEST_LOG = 40.0
NARROW = 2.0
"""Untrained quantiles lie softplus(-2) of a deviation apart: models that are worth training know more than the mean."""


class NetworkOptions(Frozen):
    """`hidden` counts the neurons of each hidden layer. `bins`: pieces a number is cut into; 1 leaves it whole.

    `embedding`: numbers that each category is turned into.
    """

    hidden: tuple[int, ...] = Field(default=(32,), min_length=1)
    bins: int = Field(default=8, gt=0, le=64)
    embedding: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class LinearOptions(Frozen):
    """`bins`: pieces a number is cut into, each with a weight of its own. `embedding`: of each category."""

    bins: int = Field(default=16, gt=0, le=64)
    embedding: int = Field(default=1, gt=0)


def value_of_log(log: Tensor) -> Tensor:
    """Return the values of which `log` is log(1 + value), finite in any case."""
    return torch.exp(log.clamp(max=LARGEST_LOG)) - 1


class Answer(nn.Module):
    """Answer turns raw outputs (..., outputs) into the contract's: class logits stay; a value is put into its unit.

    That is centre + spread * raw, and under rmsle exp of it, less 1. Raw quantiles are offsets: of the middle one from
    the value, which learns nothing from that, and of each other one from its neighbour towards the middle, through
    softplus. So none can cross another, whatever the weights.
    """

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        options = contract.settings["options"]
        self.value = options["task"] == "value"
        self.logarithmic = options["metric"] == "rmsle"
        if self.value:
            self.centre, self.spread = (float(contract.statistics[name]) for name in ("centre", "spread"))

    def forward(self, raw: Tensor) -> Tensor:
        if not self.value:
            return raw
        if raw.shape[-1] > 1:
            raw = _ordered(raw)
        units = self.centre + self.spread * raw
        return value_of_log(units) if self.logarithmic else units


def _ordered(raw: Tensor) -> Tensor:
    """Return (..., outputs) values and rising quantiles of raw ones: sums of steps, none of them below zero."""
    value, *offsets = torch.split(raw, 1, dim=-1)
    middle = len(offsets) // 2
    steps = torch.split(functional.softplus(raw[..., 1:] - NARROW), 1, dim=-1)
    found = [value.detach() + offsets[middle]]
    for place in range(middle + 1, len(offsets)):
        found.append(found[-1] + steps[place])
    for place in range(middle - 1, -1, -1):
        found.insert(0, found[0] - steps[place])
    return torch.cat([value, *found], dim=-1)


class Network(FeaturedModel):
    """Network has hidden layers and a linear skip from the encoding to its outputs."""

    def __init__(self, options: NetworkOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.encoding = Encoding(contract, bins=options.bins, embedding=options.embedding)
        width, outputs = self.encoding.width, contract.output_shape[0]
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise((width, *options.hidden)))
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden[-1], outputs)
        self.skip = nn.Linear(width, outputs, bias=False)
        self.answer = Answer(contract)

    @property
    def feature_width(self) -> int:
        """Return the width of the last hidden layer, which pruning narrows."""
        return int(self.output.in_features)

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.encoding(*inputs)
        hidden = functional.relu(self.hidden[0](encoded))
        for layer in self.hidden[1:]:
            hidden = functional.relu(layer(self.dropout(hidden)))
        return self.answer(self.output(self.dropout(hidden)) + self.skip(encoded)), hidden

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of each hidden layer, for structured pruning."""
        layers = [layer for layer in (*self.hidden, self.output) if isinstance(layer, nn.Linear)]
        return list(pairwise(layers))


class Linear(nn.Module):
    """Linear adds up what each piece of each number and each category is worth: a sum of functions of one column."""

    def __init__(self, options: LinearOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.encoding = Encoding(contract, bins=options.bins, embedding=options.embedding)
        self.output = nn.Linear(self.encoding.width, contract.output_shape[0])
        self.answer = Answer(contract)

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = self.answer(self.output(self.encoding(*inputs)))
        return found


def build_network(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return Network(NetworkOptions.model_validate(dict(options)), contract)


def build_linear(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a linear model with fresh weights. Raises ValidationError on a wrong option."""
    return Linear(LinearOptions.model_validate(dict(options)), contract)
