"""Numbers and codes of labelled rows become what a network reads, within its graph."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from tasks.problems.base import FeatureContract

LIMIT = 5.0


class Encoding(nn.Module):
    """Encoding maps the contract's inputs to (n, width).

    Of each number: its distance from the mean in deviations, within ±5, and whether it is known; and, cut at up to
    `bins` quantiles of training, how much of each piece lies below it, 0 … 1 (piecewise linear encoding, Gorishniy et
    al. 2022, arXiv:2203.05556). A number that is not known is 0 in all. Of each category: `embedding` learned numbers.
    """

    mean: Tensor
    scale: Tensor
    places: Tensor
    low: Tensor
    length: Tensor
    offsets: Tensor

    def __init__(self, contract: FeatureContract, *, bins: int, embedding: int) -> None:
        super().__init__()
        statistics = contract.statistics
        self.numbers = len(contract.settings["features"])
        self.register_buffer("mean", torch.tensor(statistics["mean"], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(statistics["scale"], dtype=torch.float32))
        pieces = [
            (place, low, high) for place, knots in enumerate(statistics["knots"]) for low, high in _pieces(knots, bins)
        ]
        self.register_buffer("places", torch.tensor([piece[0] for piece in pieces], dtype=torch.int64))
        self.register_buffer("low", torch.tensor([piece[1] for piece in pieces], dtype=torch.float32))
        self.register_buffer("length", torch.tensor([high - low for _, low, high in pieces], dtype=torch.float32))
        sizes = [len(book) for book in contract.categories.values()]
        starts = [sum(sizes[:place]) for place in range(len(sizes))]
        self.embedding = nn.Embedding(sum(sizes), embedding) if sizes else None
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int64))
        self.width = 2 * self.numbers + len(pieces) + embedding * len(sizes)

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = []
        if self.numbers:
            numeric, observed = inputs[:2]
            distance = ((numeric - self.mean) / self.scale).clamp(-LIMIT, LIMIT) * observed
            parts = [distance, observed]
            if len(self.places):
                filled = ((numeric[:, self.places] - self.low) / self.length).clamp(0, 1)
                parts.append(filled * observed[:, self.places])
        if self.embedding is not None:
            parts.append(self.embedding(inputs[-1] + self.offsets).flatten(1))
        return torch.cat(parts, dim=1)


def _pieces(knots: list[float], bins: int) -> list[tuple[float, float]]:
    """Return the pieces between at most bins + 1 of the rising knots; none of a flag, which its distance tells."""
    if len(knots) <= 2 or bins < 2:
        return []
    count = min(bins, len(knots) - 1)
    chosen = [knots[round(place * (len(knots) - 1) / count)] for place in range(count + 1)]
    return list(pairwise(chosen))
