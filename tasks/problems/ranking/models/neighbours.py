"""This student has a short list for each item: what follows it, and how surely."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.ranking.closed_form import decay
from tasks.problems.ranking.dataset import HISTORY

SHORT = 2**15
"""The place of an item of so many takes two bytes in the file."""


class NeighboursOptions(Frozen):
    """`near`: items of a list. `half_life`: of an item's weight in the history at first, in places."""

    near: int = Field(default=32, gt=0)
    half_life: float = Field(default=4.0, gt=0)


class Neighbours(nn.Module):
    """Neighbours adds up the lists of the history's items, weighed by their place, and each item's popularity.

    The closed forms' matrix of items by items has few large entries a row where a shop sells thousands of items, each
    to few; a product of two narrow tables loses those of rare items, and lists keep them (as in item-based top-N
    recommendation, Deshpande & Karypis 2004). Which items a list has is the teacher's choice, in `start`; the
    strengths, the places' weights and the popularity are learned on. Code 0 is nothing, and has an empty list.
    """

    following: Tensor
    needs_start = True

    def __init__(self, options: NeighboursOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.uses = (HISTORY,)
        (size,), (length,) = contract.output_shape, contract.inputs[HISTORY][1]
        self.near = min(options.near, size)
        places = torch.arange(self.near, dtype=torch.int16 if size <= SHORT else torch.int32)
        self.register_buffer("following", places.repeat(size + 1, 1))
        self.strengths = nn.Embedding(size + 1, self.near, padding_idx=0)
        nn.init.zeros_(self.strengths.weight)
        self.places = nn.Parameter(torch.from_numpy(decay(length, options.half_life)))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, history: Tensor) -> Tensor:
        rows = history.shape[0]  # not len(), which the exported file would have as a number of its own
        weighed = self.strengths(history) * self.places[:, None]
        items = self.following[history].long()
        scores = self.bias.unsqueeze(0).expand(rows, -1)
        return scores.scatter_add(1, items.flatten(1), weighed.flatten(1))

    def start(self, teacher: Mapping[str, Tensor]) -> list[str]:
        """Start with the strongest entries of each row of the product of items by items of an EASE or item-kNN."""
        product = teacher.get("product")
        if product is None or product.shape != (len(self.bias), len(self.bias)):
            return []
        strengths, items = product.topk(self.near, dim=1)
        with torch.no_grad():
            self.following[1:] = items.to(self.following.dtype)
            self.strengths.weight[1:] = strengths
            self.places.copy_(teacher["weights"][-len(self.places) :])
            self.bias.copy_(teacher["popularity"])
        return ["strengths.weight", "places", "bias"]


def build_neighbours(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network of empty lists. Raises ValidationError on a wrong option."""
    return Neighbours(NeighboursOptions.model_validate(dict(options)), contract)
