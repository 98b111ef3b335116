"""This module writes what peers may see of a night's rows: no item that a test row asks for is among them."""

from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows are what is learned from and asked of; items are codes from 1 to `items`, in the order of the catalogue.

    `learned`: the learned events of all users, one user after the other, each in order; `starts`: where each user
    begins, and the end. `history` (n, length): the last items before each training row, 0 before the first; `came`
    (n,): the item that came. Of each validation and test row: the history, and all items that the user had (`…_had`,
    one row after the other, with `…_bounds`). `valid_came`: the items that validation asks for, 0 where it is none of
    the catalogue. `newest`, `newest_starts`: as `learned` and `starts`, with the events that validated, for a last fit
    of what is chosen; empty where the night has none.
    """

    items: Codes
    learned: Codes
    starts: Codes
    newest: Codes
    newest_starts: Codes
    history: Codes
    came: Codes
    valid_history: Codes
    valid_had: Codes
    valid_bounds: Codes
    valid_came: Codes
    test_history: Codes
    test_had: Codes
    test_bounds: Codes

    @property
    def size(self) -> int:
        """Return the number of items."""
        return int(self.items[0])

    def valid_target(self) -> NDArray[np.int8]:
        """Return (n, items): 1 is the item that came, -1 one that the user had."""
        target = np.zeros((len(self.valid_history), self.size + 1), np.int8)
        target[lines(self.valid_bounds), self.valid_had] = -1
        target[np.arange(len(target)), self.valid_came] = 1
        return target[:, 1:]

    def save(self, path: Path) -> None:
        """Write them to a file."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, **arrays)


def load(path: Path) -> Rows:
    """Read the rows that `Rows.save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Rows(**{field.name: file[field.name] for field in fields(Rows)})


def digest(path: Path) -> str:
    """Return the SHA-256 of a file of rows: equal rows give equal files, which have no time of their making."""
    return sha256(path.read_bytes()).hexdigest()


def lines(bounds: Codes) -> Codes:
    """Return the line of each place between bounds: 0 for those up to `bounds[1]`, and so on."""
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))


def flat(parts: list[Codes]) -> tuple[Codes, Codes]:
    """Return all of them one after the other, and their bounds."""
    bounds = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return np.concatenate([*parts, np.empty(0, np.int64)]).astype(np.int64), bounds
