"""A ranker turns a history into a user's vector, whose products with the items' vectors are the scores."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import FeatureContract
from tasks.problems.blocks.features import FeaturedModel
from tasks.problems.ranking.dataset import HISTORY

DEVIATION = 0.05


class Ranker(FeaturedModel):
    """A Ranker has one table of item vectors, by which histories are read and answers scored; code 0 is nothing.

    `two_tables`: answers have vectors of their own, so that what follows an item need not be what it follows.
    """

    def __init__(self, contract: FeatureContract, width: int, *, two_tables: bool = False) -> None:
        super().__init__()
        self.uses = (HISTORY,)
        self.items = nn.Embedding(contract.output_shape[0] + 1, width, padding_idx=0)
        with torch.no_grad():
            self.items.weight[1:].normal_(0, DEVIATION)
        self.answers = nn.Parameter(torch.randn(contract.output_shape[0], width) * DEVIATION) if two_tables else None
        self.bias = nn.Parameter(torch.zeros(contract.output_shape[0]))

    @property
    def feature_width(self) -> int:
        return self.items.embedding_dim

    def vectors(self) -> list[tuple[nn.Module, str, int]]:
        """Return the tables of item vectors, see `Catalogued`."""
        answers: list[tuple[nn.Module, str, int]] = [] if self.answers is None else [(self, "answers", 0)]
        return [(self.items, "weight", 1), *answers]

    def user(self, history: Tensor) -> Tensor:
        """Return (n, width) vectors of users by their history (n, length)."""
        raise NotImplementedError

    @property
    def answer_vectors(self) -> Tensor:
        """Return (items, width) the vectors by which answers are scored."""
        return self.items.weight[1:] if self.answers is None else self.answers

    def scores(self, users: Tensor, items: Tensor | None = None) -> Tensor:
        """Return (…, items) scores of users' vectors (…, width); `items` (n,): numbers of those that are scored."""
        answers: Tensor = self.answer_vectors
        bias: Tensor = self.bias
        if items is not None:
            answers, bias = functional.embedding(items, answers), bias[items]
        found: Tensor = users @ answers.T + bias
        return found

    def with_features(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        user = self.user(*inputs)
        return self.scores(user), user


class EncodedRanker(Ranker):
    """An EncodedRanker's user is the output of an encoder at the history's last place."""

    def __init__(
        self, contract: FeatureContract, width: int, dropout: float, encoder: Callable[[int], nn.Module]
    ) -> None:
        super().__init__(contract, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = encoder(contract.inputs[HISTORY][1][0])

    def users(self, history: Tensor) -> Tensor:
        """Return (n, length, width) the user's vector after each place."""
        found: Tensor = self.dropout(self.encoder(self.items(history), history > 0))
        return found

    def user(self, history: Tensor) -> Tensor:
        return self.users(history)[:, -1]
