"""Fields are the sorts of a model's inputs: each checks an array, and the ones of raw values make it, too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.contract.errors import InputError

UNKNOWN = ("<unknown>", "unknown")
"""This value stands first in a code book for all values that training did not see."""


class Field(Protocol):
    """A field is one input. `dtype`: NumPy's, `shape`: of one row, that is without the batch axis."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def check(self, array: Any) -> None:
        """Check the values. Raises InputError naming the field and the first bad place."""
        ...


@dataclass(frozen=True)
class Numbers:
    """Numbers are an array of numbers, all finite and within `low` to `high` (None: without a limit)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return _form(self)

    def check(self, array: Any) -> None:
        """Check the values. Raises InputError naming the field and the first bad place."""
        _check_form(array, self)
        if array.dtype.kind == "f":
            self._require(array, np.isfinite(array), f"finite numbers of {self.dtype}")
        if self.low is not None:
            self._require(array, array >= self.low, f"numbers of at least {self.low:g}")
        if self.high is not None:
            self._require(array, array <= self.high, f"numbers of at most {self.high:g}")

    def _require(self, array: NDArray[Any], good: NDArray[np.bool_], expected: str) -> None:
        if not good.all():
            place = np.unravel_index(int(good.argmin()), array.shape)
            at = ", ".join(str(int(index)) for index in place)
            raise InputError(self.name, f"{array[place]} at [{at}]; expected {expected}")


@dataclass(frozen=True)
class Codebook:
    """A code book has one column's values in the order of their codes, which begin at `first`."""

    name: str
    values: tuple[Any, ...]
    first: int = 0

    @property
    def last(self) -> int:
        """Return the largest code."""
        return self.first + len(self.values) - 1

    @property
    def unknown(self) -> int | None:
        """Return the code of a value that training did not see; None if there is none."""
        return self.first if self.values and self.values[0] in UNKNOWN else None

    def codes(self, field: str, values: Iterable[Any]) -> list[int]:
        """Return the code of each value. Raises InputError naming the first value that has none."""
        book = {value: code for code, value in enumerate(self.values, start=self.first)}
        found = [book.get(value, self.unknown) for value in values]
        for row, (value, code) in enumerate(zip(values, found, strict=True)):
            if code is None:
                raise InputError(
                    field, f"{value!r:.80} in row {row} is no value of {self.name}, which has no unknown one"
                )
        return [code for code in found if code is not None]


@dataclass(frozen=True)
class Codes:
    """Codes are an array (batch, columns) of category codes, with a code book for each column."""

    name: str
    books: tuple[Codebook, ...]
    dtype: str = "int64"

    def __str__(self) -> str:
        return _form(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one row: a code for each book."""
        return (len(self.books),)

    def check(self, array: Any) -> None:
        """Check the values. Raises InputError naming the field and the first bad place."""
        _check_form(array, self)
        for column, book in enumerate(self.books):
            codes = array[:, column]
            wrong = (codes < book.first) | (codes > book.last)
            if wrong.any():
                row = int(wrong.argmax())
                said = f"codes of {book.name} are {book.first} to {book.last} in this release"
                raise InputError(self.name, f"{codes[row]} at [{row}, {column}]; {said}")

    def encode(self, values: Mapping[str, Sequence[Any]]) -> NDArray[np.int64]:
        """Encode the values of each column to (rows, columns), as training does.

        A value that training did not see gets the code for unknown. Raises InputError naming a column that is missing,
        or there is none of, and a value that has no code.
        """
        known = [book.name for book in self.books]
        for name in values:
            if name not in known:
                raise InputError(self.name, f"no such column: {name}; it has: {', '.join(known)}")
        for name in known:
            if name not in values:
                raise InputError(self.name, f"column {name} is missing; it has: {', '.join(known)}")
        if len({len(values[name]) for name in known}) > 1:
            raise InputError(self.name, "its columns have unequal numbers of values")
        codes = [book.codes(self.name, values[book.name]) for book in self.books]
        return np.array(codes, dtype=np.int64).reshape(len(codes), -1).T.copy()


@dataclass(frozen=True)
class History:
    """A History is an array (batch, length) of codes of what happened, the last at the end, 0 before the first."""

    name: str
    book: Codebook
    length: int
    dtype: str = "int64"

    def __str__(self) -> str:
        return _form(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one row."""
        return (self.length,)

    def check(self, array: Any) -> None:
        """Check the values. Raises InputError naming the field and the first bad place."""
        _check_form(array, self)
        wrong = (array < 0) | (array > self.book.last)
        if wrong.any():
            row, place = (int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))
            said = f"codes of {self.book.name} are {self.book.first} to {self.book.last} in this release, 0 for none"
            raise InputError(self.name, f"{array[row, place]} at [{row}, {place}]; {said}")

    @cached_property
    def codes(self) -> Mapping[Any, int]:
        """Return the code of each value of the book."""
        return {value: code for code, value in enumerate(self.book.values, start=self.book.first)}

    def known(self, values: Iterable[Any]) -> list[int]:
        """Return the codes of a raw history in its order, without values that training did not see."""
        return [code for value in values if (code := self.codes.get(value)) is not None]

    def encode(self, histories: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """Return (rows, length) of known codes: the last ones of each history, as training has them."""
        array = np.zeros((len(histories), self.length), np.int64)
        for row, codes in enumerate(histories):
            kept = list(codes)[-self.length :]
            array[row, self.length - len(kept) :] = kept
        return array


def stacked(books: Mapping[str, Sequence[Any]]) -> tuple[Codebook, ...]:
    """Return code books with consecutive codes: one table of embeddings serves them all."""
    firsts = accumulate((len(values) for values in books.values()), initial=0)
    return tuple(Codebook(name, tuple(books[name]), first) for name, first in zip(books, firsts, strict=False))


def side_by_side(books: Mapping[str, Sequence[Any]]) -> tuple[Codebook, ...]:
    """Return code books whose codes each begin at 0."""
    return tuple(Codebook(name, tuple(values)) for name, values in books.items())


def _form(field: Field) -> str:
    return " × ".join([f"{field.dtype}, batch", *map(str, field.shape)])


def _check_form(array: Any, expected: Field) -> None:
    name = expected.name
    if not isinstance(array, np.ndarray):
        raise InputError(name, f"a {type(array).__name__}; expected a NumPy array, {_form(expected)}")
    if array.dtype != np.dtype(expected.dtype):
        raise InputError(name, f"dtype {array.dtype}; expected {_form(expected)}")
    if array.shape[1:] != expected.shape or not array.ndim:
        found = " × ".join(map(str, array.shape)) or "a single number"
        raise InputError(name, f"shape {found}; expected {_form(expected)}")
