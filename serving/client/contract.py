"""A release's feature contract, and arrays held against it. Nothing that breaks it reaches the model."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.client.errors import ServingError

Arrays = Mapping[str, NDArray[Any]]


class InputError(ServingError, ValueError):
    """Inputs that break the contract. `field`: which one, empty for all of them."""

    exit_code = 65

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


@dataclass(frozen=True)
class Input:
    """One array: `dtype` of NumPy, `shape` of one row, that is without the batch axis.

    `codes`: names of its columns and how many codes each has, for an array of category codes; else empty.
    """

    dtype: str
    shape: tuple[int, ...]
    codes: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return " × ".join([f"{self.dtype}, batch", *map(str, self.shape)])


@dataclass(frozen=True)
class Contract:
    """What a model eats and gives. `inputs` are in the order of the contract; `output_shape` is that of one row.

    `categories`: values of each code, in the order of codes. `settings`: names of features and the like, as released.
    """

    problem: str
    inputs: Mapping[str, Input]
    output_shape: tuple[int, ...]
    categories: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]

    @classmethod
    def parse(cls, data: bytes) -> "Contract":
        """contract.json of a release. Raises ValueError, KeyError or TypeError when it is none."""
        found = json.loads(data)
        books = {name: tuple(found["categories"][name]) for name in found.get("category_order", found["categories"])}
        sizes = tuple((name, len(book)) for name, book in books.items())
        inputs = {}
        for name in found["order"]:
            dtype, shape = found["inputs"][name][0], tuple(found["inputs"][name][1])
            coded = bool(sizes) and np.dtype(dtype).kind == "i" and shape == (len(sizes),)
            inputs[name] = Input(dtype, shape, sizes if coded else ())
        return cls(found["problem"], inputs, tuple(found["output_shape"]), books, found["settings"])

    def check(self, arrays: Arrays, needed: Collection[str]) -> int:
        """Hold arrays against the contract, and return their common number of rows.

        `needed`: the inputs that the model reads; the contract's others may be left out. Raises InputError.
        """
        self.check_names(arrays, needed)
        rows = -1
        for name, array in arrays.items():
            _check_form(name, array, self.inputs[name])
            if rows not in (-1, len(array)):
                raise InputError(name, f"{len(array)} rows, the inputs before it have {rows}; all need as many")
            rows = len(array)
            _check_values(name, array, self.inputs[name])
        return rows

    def check_names(self, given: Iterable[str], needed: Collection[str]) -> None:
        """Raises InputError naming an input that the contract does not have, or one that the model needs."""
        given = list(given)
        for name in given:
            if name not in self.inputs:
                raise InputError(str(name), f"no such input; the contract has: {', '.join(self.inputs)}")
        for name in needed:
            if name not in given:
                raise InputError(name, f"missing; expected {self.inputs[name]}")


def _check_form(name: str, array: Any, expected: Input) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(name, f"a {type(array).__name__}; expected a NumPy array, {expected}")
    if array.dtype != np.dtype(expected.dtype):
        raise InputError(name, f"dtype {array.dtype}; expected {expected}")
    if array.shape[1:] != expected.shape or not array.ndim:
        found = " × ".join(map(str, array.shape)) or "a single number"
        raise InputError(name, f"shape {found}; expected {expected}")


def _check_values(name: str, array: NDArray[Any], expected: Input) -> None:
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.all():
            place = np.unravel_index(int(finite.argmin()), array.shape)
            raise InputError(name, f"{array[place]} at [{_place(place)}]; expected finite numbers of {expected.dtype}")
    for column, (category, count) in enumerate(expected.codes):
        codes = array[:, column]
        wrong = (codes < 0) | (codes >= count)
        if wrong.any():
            row = int(wrong.argmax())
            raise InputError(
                name, f"{codes[row]} at [{row}, {column}]; codes of {category} are 0 to {count - 1} in this release"
            )


def _place(place: Iterable[Any]) -> str:
    return ", ".join(str(int(index)) for index in place)
