"""These teachers multiply a decayed history with a matrix of items by items, which has a closed form."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.problems.base import Dataset, FeatureContract, Rows
from tasks.problems.ranking.closed_form import DENSE, Codes, Matrix, decay, ease, item_knn, together
from tasks.problems.ranking.dataset import HISTORY, Histories
from tasks.problems.ranking.losses import cross_entropy
from tasks.problems.ranking.metrics import gains, ranks_of

PART = 1024
STEPS = 50
SHARES, LEAST_POWER = (1.0, 0.5, 0.25, 0.125, 1 / 64), 0.01
"""Of the likeliest power of popularity. It is never 0 or less: a user without a history gets what is popular."""


class ProductOptions(Frozen):
    """`half_life`: of an item's weight in the history, in places."""

    half_life: float = Field(default=4.0, gt=0)


class EaseOptions(ProductOptions):
    """`regularisation`: of the least squares. `nearness`: see `together`; None: all of a user's events count alike."""

    regularisation: float = Field(default=300.0, gt=0)
    nearness: float | None = Field(default=None, gt=0)


class Product(nn.Module):
    """A Product's scores are logits: the product times a factor, and the item's popularity to a power.

    Ensembles and students take scores for logits, so both numbers make what came most likely on the validation rows.
    The likeliest power also explains hits that come by chance, and puts them before what comes next. So the share of it
    is taken that ranks validation rows best, and then both numbers are scaled together.
    """

    def __init__(self, options: ProductOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.options, self.uses = options, (HISTORY,)
        (size,), (length,) = contract.output_shape, contract.inputs[HISTORY][1]
        if size > DENSE:
            raise ConfigError(f"model.kind: {size:,} items are too many for a matrix of pairs, of {DENSE:,} at most")
        self.weights = nn.Parameter(torch.from_numpy(decay(length, options.half_life)), requires_grad=False)
        self.product = nn.Parameter(torch.zeros(size, size), requires_grad=False)
        self.popularity = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.settled: list[float] = []

    def forward(self, history: Tensor) -> Tensor:
        return self.profile(history) @ self.product + self.popularity

    def profile(self, history: Tensor) -> Tensor:
        """Return (n, items) the weight of each item in the history."""
        rows = history.shape[0]  # not len(), which the exported file would have as a number of its own
        none = self.popularity.new_zeros(1, len(self.product) + 1).expand(rows, -1)
        return none.scatter_add(1, history, self.weights.expand(rows, -1))[:, 1:]

    def matrix(self, sequences: Sequence[Codes], weights: Sequence[Matrix] | None) -> Matrix:
        """Return (items, items) the similarities of items by users' events in order, and what these count."""
        raise NotImplementedError

    def fit(self, dataset: Dataset, train: Rows, valid: Rows, *, seed: int) -> list[float]:
        popularity = self._learn(dataset, train)
        with torch.no_grad():
            scores = torch.cat(
                [self(torch.from_numpy(dataset.inputs(part)[HISTORY])) for part in dataset.parts(valid, most=PART)]
            )
        target = torch.from_numpy(dataset.target(valid))
        there = (target == 1).any(dim=1)
        scores, target = scores[there], target[there]
        start = [1 / float(scores.std().clamp(min=1e-6)), 0.5]
        factor, likeliest = _likeliest([scores, popularity], start, target)
        power = max(likeliest, LEAST_POWER)

        def logits(share: float) -> Tensor:
            return factor * scores + share * power * popularity

        def gain(share: float) -> float:
            return float(gains(ranks_of(logits(share).numpy(), target.numpy())).mean())

        share = max(SHARES, key=gain)
        (scale,) = _likeliest([logits(share)], [1.0], target)
        self._scale(popularity, [scale * factor, scale * share * power])
        return [float(cross_entropy(scale * logits(share), target).mean())]

    def fit_again(self, dataset: Dataset, train: Rows, settled: Sequence[float], *, seed: int) -> None:
        """Learn from `train`, with both numbers as they were."""
        self._scale(self._learn(dataset, train), settled)

    def _learn(self, dataset: Dataset, train: Rows) -> Tensor:
        """Set the product of `train`, before it is scaled, and return (items,) how popular each is."""
        assert isinstance(dataset, Histories)
        sequences, weights = dataset.sequences(train), dataset.sequence_weights(train)
        count = None if weights is None else np.concatenate(weights)
        events = np.bincount(np.concatenate(sequences), count, dataset.size + 1)[1:]
        with torch.no_grad():
            self.product.copy_(torch.from_numpy(self.matrix(sequences, weights)))
        return torch.from_numpy(np.log1p(events)).float()

    def _scale(self, popularity: Tensor, factors: Sequence[float]) -> None:
        self.settled = list(factors)
        with torch.no_grad():
            self.product.mul_(factors[0])
            self.popularity.copy_(factors[1] * popularity)


def _likeliest(terms: Sequence[Tensor], start: Sequence[float], target: Tensor) -> list[float]:
    """Return the factors of `terms`, (n, items) or (items,), whose weighted sum makes `target` (n, items) likeliest."""
    factors = torch.tensor(start, requires_grad=True)
    search = torch.optim.LBFGS([factors], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        logits = torch.zeros(()) + sum(factor * term for factor, term in zip(factors, terms, strict=True))
        found = cross_entropy(logits, target).mean()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(loss)  # type: ignore[no-untyped-call]
    found: list[float] = factors.detach().tolist()
    return found


class Ease(Product):
    """Ease is EASE (Steck 2019, arXiv:1905.03375) on a history that decays."""

    options: EaseOptions

    def matrix(self, sequences: Sequence[Codes], weights: Sequence[Matrix] | None) -> Matrix:
        counts = together(sequences, len(self.product), self.options.nearness, weights)
        return ease(counts, self.options.regularisation)


class ItemKnn(Product):
    """ItemKnn sums the similarities of nearest neighbours on a history that decays."""

    def matrix(self, sequences: Sequence[Codes], weights: Sequence[Matrix] | None) -> Matrix:
        return item_knn(together(sequences, len(self.product), weights=weights))


def build_ease(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build an EASE without weights. Raises ValidationError on a wrong option, ConfigError for too many items."""
    return Ease(EaseOptions.model_validate(dict(options)), contract)


def build_item_knn(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build an item-kNN without weights. Raises ValidationError on a wrong option, ConfigError for too many items."""
    return ItemKnn(ProductOptions.model_validate(dict(options)), contract)
