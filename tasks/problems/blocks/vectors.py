"""A table with a vector for each item of a catalogue can be kept in fewer numbers than it has."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

ROUNDS = 25
MOST_LEVELS = 256
"""A code is a byte."""


@runtime_checkable
class Catalogued(Protocol):
    """A Catalogued model has vectors of items."""

    def vectors(self) -> list[tuple[nn.Module, str, int]]:
        """Return owner and name of each table (rows, width), and how many rows before the first item's are zero.

        Rows are in the order of the items' popularity, the most popular first.
        """
        ...


class Kept(nn.Module):
    """Kept makes a whole table of what is kept of it: rows of zeros stand `before` and `after` the others.

    `dims`: so many neighbouring numbers of a row are one of `levels` vectors that all rows share, by a code: product
    quantization (Jégou et al. 2011), the vectors trained on as in RecJPQ (Petrov & Macdonald 2024, arXiv:2312.06165);
    0: rows are kept as they are.
    """

    codes: Tensor

    def __init__(self, before: int, after: int, dims: int = 0, levels: int = MOST_LEVELS) -> None:
        super().__init__()
        self.before, self.after, self.dims, self.levels = before, after, dims, levels
        if dims:
            self.register_buffer("codes", torch.zeros(0, dtype=torch.uint8))

    def right_inverse(self, table: Tensor) -> Tensor:
        """Return what is trained in the table's place: rows (n, width), or shared vectors (parts, levels, dims)."""
        rows = table.detach()[self.before : len(table) - self.after]
        if not self.dims:
            return rows.clone()
        found = [shared(part, self.levels) for part in torch.split(rows, self.dims, dim=1)]
        self.codes = torch.stack([codes for _, codes in found], dim=1).to(torch.uint8)
        return torch.stack([vectors for vectors, _ in found])

    def forward(self, stored: Tensor) -> Tensor:
        """Return the table (rows, width)."""
        if self.dims:
            parts, levels, _ = stored.shape
            places = self.codes.long() + levels * torch.arange(parts, device=stored.device)
            stored = functional.embedding(places, stored.flatten(0, 1)).flatten(1)
        return functional.pad(stored, (0, 0, self.before, self.after))


def shared(rows: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Return `levels` vectors (levels, dims) and the code of the nearest one of each row, by k-means."""
    vectors = rows[torch.linspace(0, len(rows) - 1, levels).round().long()].clone()
    for _ in range(ROUNDS):
        codes = torch.cdist(rows, vectors).argmin(dim=1)
        count = torch.bincount(codes, minlength=levels)
        sums = torch.zeros_like(vectors).index_add_(0, codes, rows)
        vectors = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], vectors)
    return vectors, torch.cdist(rows, vectors).argmin(dim=1)


def kept_of(owner: nn.Module, name: str) -> Kept | None:
    """Return how a table is kept; None: as it is."""
    if not parametrize.is_parametrized(owner, name):
        return None
    (found,) = owner.parametrizations[name]  # type: ignore[index]
    assert isinstance(found, Kept)
    return found


def keep(owner: nn.Module, name: str, kept: Kept) -> None:
    """Keep a table so from now on, in place: what is trained and stored is what is kept of it."""
    if parametrize.is_parametrized(owner, name):
        parametrize.remove_parametrizations(owner, name)
    parametrize.register_parametrization(owner, name, kept)
