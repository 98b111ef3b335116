"""Encoders read a history of item vectors; each place's output knows that place and those before it alone."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.errors import ConfigError

HIDDEN = -1e9


class Recurrent(nn.Module):
    """Recurrent is a GRU (GRU4Rec, Hidasi et al. 2016, arXiv:1511.06939). Places before a history's first are zeros."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, width)

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Return (n, length, width); `there` (n, length): whether a place has an item."""
        states: Tensor = self.gru(self.dropout(vectors))[0]
        return self.out(self.dropout(states))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention is a transformer that looks back alone (SASRec, Kang & McAuley 2018, arXiv:1808.09781).

    A place's position is counted from the history's end in the vectors of `places`, so that the last item always has
    the same one.
    """

    def __init__(self, width: int, length: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f"model.width: expected a multiple of {heads} heads, got {width}")
        self.places = nn.Parameter(torch.randn(length, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Return (n, length, width); `there` (n, length): whether a place has an item."""
        length = vectors.shape[1]
        values = self.dropout(vectors + self.places[len(self.places) - length :])
        places = torch.arange(length, device=vectors.device)
        # A place sees itself in any case: softmax over nothing is not a number.
        hidden = (places > places[:, None]) | (~there[:, None] & (places != places[:, None]))
        mask = torch.zeros(hidden.shape, device=vectors.device).masked_fill(hidden, HIDDEN)[:, None]
        for block in self.blocks:
            values = block(values, mask)
        return self.norm(values)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A block is attention and a small network, each behind a norm and added to what it read."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, dropout
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return (n, length, width); `mask` (n, 1, length, length) is added to what each place sees of each other."""
        length, width = values.shape[1:]
        parts = self.queries_keys_values(self.first(values)).reshape(-1, length, 3, self.heads, width // self.heads)
        queries, keys, others = parts.permute(2, 0, 3, 1, 4)
        weights = queries @ keys.transpose(2, 3) / math.sqrt(width // self.heads) + mask
        seen = self.dropout(functional.softmax(weights, dim=3)) @ others
        values = values + self.dropout(self.out(seen.transpose(1, 2).reshape(-1, length, width)))
        inner = functional.gelu(self.inner(self.second(values)))
        return values + self.dropout(self.outer(inner))  # type: ignore[no-any-return]
