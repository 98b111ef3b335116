"""Stage features writes contract.json once; all callers of a model read it by this module."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract.errors import InputError
from serving.contract.fields import Codebook, Codes, Field, History, Numbers, side_by_side, stacked
from serving.contract.images import Image, image_of
from serving.contract.tokens import Tokens

Arrays = Mapping[str, NDArray[Any]]

KINDS = "biuf"  # NumPy's, of true or false and numbers

ROWS_AT_ONCE = 128
"""A run of a model that reads images or texts has so many rows at most: its layers are far wider than its inputs."""

# Releases of before typed fields do not say which input holds codes, nor where a column's codes begin.
BEFORE = {"forecasting": ("static", stacked), "tabular": ("codes", side_by_side)}


@dataclass(frozen=True)
class Contract:
    """A contract defines a model's `inputs`, in its order, and its output; `output_shape` is that of one row.

    `categories`: values of each code book. `settings`: names of features and the like, as released. `choice`: so many
    of the best outputs does the file name itself, as codes of the history's book; 0: it has its outputs alone.
    `repeats`: those in the history may be named too.
    """

    problem: str
    inputs: Mapping[str, Field]
    output_shape: tuple[int, ...]
    categories: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]
    choice: int = 0
    repeats: bool = False

    @property
    def most_rows(self) -> int | None:
        """Return how many rows a run of the model has at most; None: any."""
        return ROWS_AT_ONCE if self.images or self.texts else None

    @classmethod
    def parse(cls, data: bytes) -> "Contract":
        """Parse contract.json of a release. Raises ValueError or TypeError when it is none."""
        try:
            found = json.loads(data)
            json.dumps(found, allow_nan=False, ensure_ascii=False).encode()  # what could not be told again is none
            return cls.from_json(found)
        except (RecursionError, AttributeError) as error:
            raise ValueError(f"no contract: {error}") from None

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Contract":
        """Build the contract of contract.json's plain values. Raises ValueError or TypeError when it is none."""
        try:
            return cls._of(found)
        except KeyError as error:
            raise ValueError(f"no contract: {error} is missing") from None

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> "Contract":
        if not isinstance(found["problem"], str) or not isinstance(found["settings"], Mapping):
            raise TypeError("`problem` is a text and `settings` an object")
        books = {name: _values(found["categories"], name) for name in found.get("category_order", found["categories"])}
        coded = dict(_coded(found, books))
        histories = {
            name: _book(one["column"], one["first"], books) for name, one in found.get("histories", {}).items()
        }
        limits = found.get("limits", _limits_of_before(found))
        inputs = {
            name: _tokens(name, found) or _field(name, found["inputs"][name], coded, histories, limits.get(name))
            for name in found["order"]
        }
        for name, how in found.get("images", {}).items():
            dtype, form = found["inputs"][name]
            inputs[name] = image_of(name, dtype, _shape(name, form), how)
        shape, choice = _shape("output_shape", found["output_shape"]), found.get("choice", 0)
        if type(choice) is not int or choice < 0 or (choice and not histories):
            raise TypeError(f"choice: {choice!r:.80} is not how many of the best are named")
        for name, book in histories.items():
            if shape != (len(book.values),):
                said = f"its output has the shape {shape}, and {name} {len(book.values)} values of {book.name}"
                raise ValueError(f"{said}; expected an output for each value")
        return cls(found["problem"], inputs, shape, books, found["settings"], choice, found.get("repeats") is True)

    def check(self, arrays: Arrays, needed: Collection[str]) -> int:
        """Check arrays against the contract, and return their common number of rows.

        `needed`: the inputs that the model reads; the contract's others may be left out. Raises InputError.
        """
        self.check_names(arrays, needed)
        rows = -1
        for name, array in arrays.items():
            self.inputs[name].check(array)
            if rows not in (-1, len(array)):
                raise InputError(name, f"{len(array)} rows, the inputs before it have {rows}; all need as many")
            rows = len(array)
        return rows

    def check_names(self, given: Iterable[str], needed: Collection[str]) -> None:
        """Check inputs' names. Raises InputError naming an unknown input, or a missing one that the model needs."""
        given = list(given)
        for name in given:
            if name not in self.inputs:
                raise InputError(str(name), f"no such input; the contract has: {', '.join(self.inputs)}")
        for name in needed:
            if name not in given:
                raise InputError(name, f"missing; expected {self.inputs[name]}")

    @property
    def coded(self) -> Mapping[str, Codes]:
        """Return the inputs that hold category codes."""
        return {name: field for name, field in self.inputs.items() if isinstance(field, Codes)}

    @property
    def histories(self) -> Mapping[str, History]:
        """Return the inputs that hold histories."""
        return {name: field for name, field in self.inputs.items() if isinstance(field, History)}

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the labels that the outputs are of, in order; empty where they are of none."""
        options = self.settings.get("options")
        found = options.get("classes") if isinstance(options, Mapping) else None
        known = isinstance(found, list | tuple) and self.output_shape == (len(found),)
        return tuple(map(str, found)) if known and found else ()

    @property
    def texts(self) -> Mapping[str, Tokens]:
        """Return the inputs that are made of texts."""
        return {name: field for name, field in self.inputs.items() if isinstance(field, Tokens)}

    @property
    def images(self) -> Mapping[str, Image]:
        """Return the inputs that hold images."""
        return {name: field for name, field in self.inputs.items() if isinstance(field, Image)}


def codes_json(coded: Mapping[str, tuple[Codebook, ...]]) -> dict[str, Any]:
    """Return contract.json's part on codes: which inputs hold codes, and where each column's codes begin."""
    return {name: [{"column": book.name, "first": book.first} for book in books] for name, books in coded.items()}


def histories_json(histories: Mapping[str, Codebook]) -> dict[str, Any]:
    """Return contract.json's part on histories: the code book of each, and where its codes begin."""
    return {name: {"column": book.name, "first": book.first} for name, book in histories.items()}


def _values(categories: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    values = categories[name]
    if not isinstance(values, list | tuple) or any(isinstance(value, list | dict) for value in values):
        raise TypeError(f"categories.{name}: not a list of plain values")
    return tuple(values)


def _shape(name: str, sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list | tuple) or any(type(size) is not int or size < 0 for size in sizes):
        raise TypeError(f"{name}: {sizes!r:.80} is not a shape")
    return tuple(sizes)


def _coded(
    found: Mapping[str, Any], books: Mapping[str, tuple[Any, ...]]
) -> Iterable[tuple[str, tuple[Codebook, ...]]]:
    if "codes" in found:
        for name, columns in found["codes"].items():
            yield name, tuple(_book(one["column"], one["first"], books) for one in columns)
    elif found["problem"] in BEFORE and books:
        name, arrange = BEFORE[found["problem"]]
        if name in found["inputs"]:
            yield name, arrange(books)


def _book(column: str, first: Any, books: Mapping[str, tuple[Any, ...]]) -> Codebook:
    if type(first) is not int:
        raise TypeError(f"codes.{column}: {first!r:.80} is not the number of its first code")
    return Codebook(column, books[column], first)


def _limits_of_before(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the limits of a contract without `limits`, from the numbers in its options."""
    options = found["settings"].get("options", {}) if found["problem"] == "forecasting" else {}
    amounts = isinstance(options, Mapping) and options.get("positive") is True
    return {"units": (0, None), "observed": (0, 1)} if amounts else {}


def _tokens(name: str, found: Mapping[str, Any]) -> Tokens | None:
    """Return the field of an input that is made of texts, if it is one."""
    about = found.get("tokens", {}).get(name)
    if about is None:
        return None
    dtype, sizes = found["inputs"][name]
    return Tokens.from_json(name, dtype, _shape(name, sizes), about)


def _field(
    name: str,
    form: Any,
    coded: Mapping[str, tuple[Codebook, ...]],
    histories: Mapping[str, Codebook],
    limits: Any,
) -> Field:
    dtype, sizes = form
    if not isinstance(dtype, str) or np.dtype(dtype).kind not in KINDS:
        raise TypeError(f"{name}: {dtype!r:.80} is not the type of a number")
    shape = _shape(name, sizes)
    if name in histories:
        if len(shape) != 1 or histories[name].first < 1:
            raise ValueError(f"{name} has the shape {shape}, and codes from {histories[name].first}: no history")
        return History(name, histories[name], shape[0], dtype)
    if name not in coded:
        low, high = (None if limit is None else float(limit) for limit in limits or (None, None))
        return Numbers(name, dtype, shape, low, high)
    codes = Codes(name, coded[name], dtype)
    if shape != codes.shape:
        raise ValueError(f"{name} has the shape {shape}, and {len(codes.books)} code books")
    return codes
