"""These networks are trained row by row: light encoders of a history."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import FeatureContract
from tasks.problems.ranking.closed_form import decay
from tasks.problems.ranking.dataset import HISTORY
from tasks.problems.ranking.models.encoders import Attention, Recurrent
from tasks.problems.ranking.models.ranker import EncodedRanker, Ranker

LARGE = 4096
"""A product of so many items is not decomposed whole."""
ROUNDS = 10


class DecayedSumOptions(Frozen):
    """`width`: numbers of an item's vector. `half_lives`: how fast each sum forgets at first, in places.

    `two_tables`: see `Ranker`.
    """

    width: int = Field(default=16, gt=0)
    half_lives: tuple[float, ...] = Field(default=(4.0,), min_length=1)
    two_tables: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)


class DecayedSum(Ranker):
    """A DecayedSum adds the history's item vectors up, weighed by their place, in several ways at once.

    The weights are learned. A linear map makes the user's vector of the sums: all of it is linear in the items.
    """

    def __init__(self, options: DecayedSumOptions, contract: FeatureContract) -> None:
        super().__init__(contract, options.width, two_tables=options.two_tables)
        length = contract.inputs[HISTORY][1][0]
        decays = [torch.from_numpy(decay(length, half_life)) for half_life in options.half_lives]
        self.places = nn.Parameter(torch.stack(decays))
        self.dropout = nn.Dropout(options.dropout)
        self.map = nn.Linear(options.width * len(decays), options.width)

    def start(self, teacher: Mapping[str, Tensor]) -> list[str]:
        """Start as the closest product of two tables to the product of items by items of an EASE or item-kNN."""
        product = teacher.get("product")
        if self.answers is None or product is None or product.shape != (len(self.bias), len(self.bias)):
            return []
        width = self.answers.shape[1]
        left, strengths, right = principal(product, width)
        with torch.no_grad():
            self.items.weight[1:] = left * strengths.sqrt()
            self.answers.copy_(right * strengths.sqrt())
            self.bias.copy_(teacher["popularity"])
            self.places[0] = teacher["weights"][-self.places.shape[1] :]
            self.map.weight.zero_()[:, :width].fill_diagonal_(1.0)
            self.map.bias.zero_()
        return ["items.weight", "answers", "bias", "places", "map.weight", "map.bias"]

    def user(self, history: Tensor) -> Tensor:
        sums: Tensor = self.places @ self.dropout(self.items(history))
        return self.map(sums.flatten(1))  # type: ignore[no-any-return]


def principal(product: Tensor, rank: int, large: int = LARGE) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (items, rank) left and right vectors, and the strengths, of a product's closest one of that rank.

    Vectors beyond those that the product has are zero, and a model starts to learn them from there. From so many items
    on as `large` the vectors are looked for from a start drawn by a fixed seed, which takes a small share of the time
    and leaves them off by little: the whole decomposition takes time with the cube of the items.
    """
    if len(product) >= large:
        from sklearn.utils.extmath import randomized_svd  # importing it takes a second
        from threadpoolctl import threadpool_limits

        with threadpool_limits(torch.get_num_threads(), "blas"):  # numpy would take all cores, and round by it
            drawn = randomized_svd(product.detach().numpy(), rank, n_oversamples=rank, n_iter=ROUNDS, random_state=0)
        left, strengths, right = (torch.from_numpy(part.copy()) for part in drawn)
    else:
        left, strengths, right = torch.linalg.svd(product.double(), full_matrices=False)
    found = (left[:, :rank], strengths[:rank], right[:rank].T)
    short = rank - found[1].shape[0]
    left, strengths, right = (functional.pad(part, (0, max(0, short))) for part in found)
    return left.float(), strengths.float(), right.float()


class GruOptions(Frozen):
    """`width`: numbers of an item's vector; `hidden`: of the state."""

    width: int = Field(default=32, gt=0)
    hidden: int = Field(default=48, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class TransformerOptions(Frozen):
    """`width`: numbers of an item's vector, and of every layer."""

    width: int = Field(default=32, gt=0)
    layers: int = Field(default=1, gt=0)
    heads: int = Field(default=2, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


def build_decayed_sum(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    return DecayedSum(DecayedSumOptions.model_validate(dict(options)), contract)


def build_gru(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    given = GruOptions.model_validate(dict(options))
    return EncodedRanker(
        contract, given.width, given.dropout, lambda _: Recurrent(given.width, given.hidden, given.dropout)
    )


def build_transformer(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    given = TransformerOptions.model_validate(dict(options))
    return EncodedRanker(
        contract,
        given.width,
        given.dropout,
        lambda length: Attention(given.width, length, given.layers, given.heads, given.dropout),
    )
