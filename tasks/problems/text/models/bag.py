"""A bag adds up the vectors of a text's tokens, whatever their order: fastText's way, with hashed tokens.

Joulin et al. 2017, Bag of Tricks for Efficient Text Classification (arXiv:1607.01759).
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract, Inputs
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.text.dataset import GRAMS

NARROW = 2**15
"""Fewer rows than these are counted in two bytes."""


class BagOptions(Frozen):
    """`width`: numbers of a token's vector. `rows`: of the table; tokens whose numbers agree modulo it share a vector.

    `hidden`: neurons of a layer behind the sum; 0: none. `drop_tokens`: share of a text's tokens that training leaves
    out each time, `dropout`: of the sum's numbers. `deviation`: of the vectors' first numbers; with 0 a token that
    training never saw adds nothing to a sum.
    """

    width: int = Field(default=64, gt=0)
    rows: int = Field(default=4096, gt=1)
    hidden: int = Field(default=0, ge=0)
    drop_tokens: float = Field(default=0.3, ge=0, lt=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    deviation: float = Field(default=0.1, ge=0)


class Bag(FeaturedModel):
    """A Bag divides the sum by the root of the number of tokens, so that long texts count for more, but not by much."""

    def __init__(self, options: BagOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.uses = (GRAMS,)
        self.rows, self.drop_tokens = options.rows, options.drop_tokens
        self.slots: Tensor | None = None
        self.table = nn.Embedding(options.rows, options.width, padding_idx=0)
        with torch.no_grad():
            self.table.weight[1:].normal_(0, options.deviation)
        self.bias = nn.Parameter(torch.zeros(options.width))
        self.dropout = nn.Dropout(options.dropout)
        self.hidden = nn.Linear(options.width, options.hidden) if options.hidden else None
        self.output = nn.Linear(options.hidden or options.width, contract.output_shape[0])

    @property
    def feature_width(self) -> int:
        return int(self.output.in_features)

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.dropout(self._sum(*inputs) + self.bias)
        if self.hidden is not None:
            features = self.dropout(functional.relu(self.hidden(functional.relu(features))))
        return self.output(features), features

    def _sum(self, grams: Tensor) -> Tensor:
        """Return (n, width) of (n, length) numbers of tokens."""
        count = (grams > 0).sum(dim=1, keepdim=True).clamp(min=1).float().sqrt()
        places = grams % self.rows if self.slots is None else self.slots[grams % self.rows].long()
        if not self.training:
            found: Tensor = self.table(places).sum(dim=1) / count
            return found
        places = places[:, : max(1, int((grams > 0).sum(dim=1).max()))]
        kept = (torch.rand(places.shape, device=places.device) >= self.drop_tokens) / (1 - self.drop_tokens)
        # One pass over the table, several times as fast in training as rows that are gathered and added up.
        summed = functional.embedding_bag(places, self.table.weight, mode="sum", per_sample_weights=kept, padding_idx=0)
        return summed / count

    def seen(self, inputs: Inputs) -> Tensor:
        """Return (rows,) how often the inputs look up each row; what stands for no token is 0."""
        grams = torch.from_numpy(inputs[GRAMS])
        return torch.bincount(grams[grams > 0] % self.rows, minlength=self.rows)

    def token_vectors(self) -> Tensor:
        """Return the table (rows, width), its first row for no token."""
        return self.table.weight

    def keep_rows(self, kept: Tensor) -> None:
        """Keep these rows alone; the first one, of zeros, stands for all others."""
        slots = torch.zeros(self.rows, dtype=torch.int16 if len(kept) < NARROW else torch.int32)
        slots[kept] = torch.arange(1, len(kept) + 1, dtype=slots.dtype)
        del self.slots
        self.register_buffer("slots", slots)
        rows = self.table.weight.detach()
        rows = torch.cat([torch.zeros_like(rows[:1]), rows[kept]])
        self.table = nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=0)  # type: ignore[no-untyped-call]

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """Return (producer, consumer) of the hidden layer, for structured pruning."""
        return [] if self.hidden is None else [(self.hidden, self.output)]


def build_bag(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return Bag(BagOptions.model_validate(dict(options)), contract)
