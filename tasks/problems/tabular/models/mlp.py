"""Classifiers of entities, teachers and students alike, map raw features to class logits."""

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

LIMIT = 5.0


class MlpOptions(Frozen):
    """`hidden` counts the neurons of each hidden layer. `embedding`: numbers that each category is turned into."""

    hidden: tuple[int, ...] = Field(default=(24,), min_length=1)
    embedding: int = Field(default=2, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Standardise(nn.Module):
    """It computes log(1 + x), minus mean, over scale, within ±5 so that no wild value dominates.

    x is (n, features), negative numbers count as 0. Mean and scale are the contract's, fixed on the training split. As
    a part of the graph they let released bytes take raw features.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(contract.statistics["log_mean"], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(contract.statistics["log_scale"], dtype=torch.float32))

    def forward(self, numeric: Tensor) -> Tensor:
        return ((torch.log1p(numeric.clamp(min=0)) - self.mean) / self.scale).clamp(-LIMIT, LIMIT)


class Mlp(FeaturedModel):
    """Mlp has hidden layers and a linear skip from features to logits. One table holds all categories' embeddings."""

    offsets: Tensor

    def __init__(self, options: MlpOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.standardise = Standardise(contract)
        sizes = [len(book) for book in contract.categories.values()]
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        self.embedding = nn.Embedding(sum(sizes), options.embedding) if sizes else None
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64))
        width = contract.inputs["numeric"][1][0] + options.embedding * len(sizes)
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise((width, *options.hidden)))
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(options.hidden[-1], contract.output_shape[0])
        self.skip = nn.Linear(width, contract.output_shape[0], bias=False)

    @property
    def feature_width(self) -> int:
        """Return the width of the last hidden layer, which pruning narrows."""
        return int(self.output.in_features)

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        numbers = self.standardise(inputs[0])
        if self.embedding is not None:
            numbers = torch.cat([numbers, self.embedding(inputs[1] + self.offsets).flatten(1)], dim=1)
        hidden = functional.relu(self.hidden[0](numbers))
        for layer in self.hidden[1:]:
            hidden = functional.relu(layer(self.dropout(hidden)))
        return self.output(self.dropout(hidden)) + self.skip(numbers), hidden

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of each hidden layer, for structured pruning."""
        layers = [layer for layer in (*self.hidden, self.output) if isinstance(layer, nn.Linear)]
        return list(pairwise(layers))


def build_mlp(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a classifier with fresh weights. Raises ValidationError on a wrong option."""
    return Mlp(MlpOptions.model_validate(dict(options)), contract)
