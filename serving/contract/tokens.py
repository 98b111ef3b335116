"""Texts become numbers of their words and letters here, by the standard library alone: in training and serving alike.

A token's number is a hash of it, so a release needs no list of words; words that training did not see have numbers too.
"""

import re
import unicodedata
from array import array as machine_numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from serving.contract.errors import InputError

PARTS = re.compile(r"\w+|[^\w\s]")
"""A word is a run of letters, digits and underscores, or one other sign."""
BITS = 32
LOWEST = 2**BITS - 1
REMEMBERED, SHORT = 2**12, 16
"""So many words are remembered with their tokens, none longer than SHORT: a few megabytes, whatever texts come."""
LOOKED_AT = 8
"""Of a text of which tokens stand once, so many times its length are looked at: one that repeats itself ends."""
END = "\n"
"""It stands before a text's first word and after its last; no word has it."""


def normalised(text: str) -> str:
    """Return the text in Unicode's compatible composed form (NFKC) and in small letters."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text in order, normalised."""
    return PARTS.findall(normalised(text))


@dataclass(frozen=True)
class Tokens:
    """Tokens are an array (batch, length) of numbers of a text's tokens in order, from 1; 0 where there are no more.

    `column`: of the table. `words`: runs of up to so many words are tokens. `letters`: shortest and longest run of
    letters of one word, with a space at its ends, that are tokens too; None: words alone. With `once` a token stands at
    its first place alone, without it in all. Numbers are below `buckets`, different ones for each `seed`. What a text
    has beyond `length` tokens is not seen, nor what one word of more than SHORT letters has beyond them, nor with
    `once` what it has beyond LOOKED_AT times them with repetitions; a text of more than `longest` characters is
    refused.
    """

    name: str
    column: str
    length: int
    buckets: int
    words: int = 1
    letters: tuple[int, int] | None = None
    once: bool = False
    seed: int = 0
    longest: int = 2000
    dtype: str = "int64"

    def __post_init__(self) -> None:
        """Check the numbers. Raises ValueError."""
        low, high = self.letters or (1, 1)
        if min(self.length, self.longest, self.words) < 1 or not 2 <= self.buckets < 2**31 or not 1 <= low <= high:
            raise ValueError(f"{self.name}: {self} has a number that is too small or too large")

    def __str__(self) -> str:
        return f"{self.dtype}, batch × {self.length}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one row."""
        return (self.length,)

    def check(self, array: Any) -> None:
        """Check the values. Raises InputError naming the field and the first bad place."""
        if not isinstance(array, np.ndarray):
            raise InputError(self.name, f"a {type(array).__name__}; expected a NumPy array, {self}")
        if array.dtype != np.dtype(self.dtype):
            raise InputError(self.name, f"dtype {array.dtype}; expected {self}")
        if array.shape[1:] != self.shape or not array.ndim:
            found = " × ".join(map(str, array.shape)) or "a single number"
            raise InputError(self.name, f"shape {found}; expected {self}")
        wrong = (array < 0) | (array >= self.buckets)
        if wrong.any():
            row, place = (int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))
            said = f"numbers of tokens are below {self.buckets}, and 0 is none"
            raise InputError(self.name, f"{array[row, place]} at [{row}, {place}]; {said}")

    def encode(self, texts: Sequence[Any]) -> NDArray[np.int64]:
        """Return (rows, length) numbers of tokens. Raises InputError naming a row that is no text, or too long."""
        array = np.zeros((len(texts), self.length), np.int64)
        for row, text in enumerate(texts):
            self.require(text, row)
            found = self.numbers(text)
            array[row, : len(found)] = machine_numbers("q", found)
        return array

    def require(self, text: Any, row: int) -> None:
        """Require a text of at most `longest` characters. Raises InputError naming the row."""
        if not isinstance(text, str):
            said = "null" if text is None else f"a {type(text).__name__}"
            raise InputError(self.column, f"{said} in row {row}; expected a text")
        if len(text) > self.longest:
            said = f"{len(text)} characters in row {row}; expected at most {self.longest}"
            raise InputError(self.column, f"{said}: shorten the text, or raise problem.longest and train again")

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens in order, at most `length`."""
        most = LOOKED_AT * self.length if self.once else self.length
        found: list[int] = []
        look = self.length
        for some in self._parts(words_of(text)):
            found += some
            # Repetitions are looked for now and then: with each word it would take longer than the words.
            if len(found) >= look:
                if len(found) >= most or len(dict.fromkeys(found)) >= self.length:
                    break
                look = len(found) + self.length
        return (list(dict.fromkeys(found[:most])) if self.once else found)[: self.length]

    def _parts(self, words: list[str]) -> Iterator[Sequence[int]]:
        """Yield the numbers of each word, and of the runs of words that end with it."""
        seed, buckets, runs = self.seed, self.buckets, self.words
        shortest, longest = self.letters or (1, 0)
        before = [END]
        for word in words:
            if len(word) > SHORT:
                yield list(islice(_of_word(word, shortest, longest, seed, buckets), self.length))
            else:
                yield _remembered(word, shortest, longest, seed, buckets)
            if runs == 2:
                yield (_number(f"r{before[0]} {word}", seed, buckets),)
                before = [word]
            elif runs > 1:
                before = [*before[1 - runs :], word]
                yield self._runs(before)
        if runs > 1 and words:
            yield self._runs([*before[1 - runs :], END])

    def _runs(self, last: list[str]) -> list[int]:
        return [_number("r" + " ".join(last[-length:]), self.seed, self.buckets) for length in range(2, len(last) + 1)]

    def to_json(self) -> dict[str, Any]:
        """Return this field's part of contract.json."""
        return {
            "column": self.column,
            "buckets": self.buckets,
            "words": self.words,
            "letters": None if self.letters is None else list(self.letters),
            "once": self.once,
            "seed": self.seed,
            "longest": self.longest,
        }

    @classmethod
    def from_json(cls, name: str, dtype: str, shape: tuple[int, ...], found: Mapping[str, Any]) -> "Tokens":
        """Return the field that contract.json tells of. Raises KeyError, TypeError or ValueError when it is none."""
        whole = [found[key] for key in ("buckets", "words", "seed", "longest")]
        letters = found["letters"]
        if not isinstance(found["column"], str) or any(type(value) is not int for value in (*whole, *(letters or ()))):
            raise TypeError(f"tokens.{name}: a column's name and whole numbers are expected")
        if len(shape) != 1 or np.dtype(dtype) != np.int64 or (letters is not None and len(letters) != 2):
            raise ValueError(f"{name} has the shape {shape} of {dtype}: no tokens")
        runs = None if letters is None else (letters[0], letters[1])
        buckets, words, seed, longest = whole
        return cls(name, found["column"], shape[0], buckets, words, runs, found["once"] is True, seed, longest)


def _of_word(word: str, shortest: int, longest: int, seed: int, buckets: int) -> Iterator[int]:
    """Yield the number of a word, then those of its runs of letters, the short ones first."""
    yield _number("w" + word, seed, buckets)
    whole = f" {word} "
    for length in range(shortest, min(longest, len(whole)) + 1):
        for start in range(len(whole) - length + 1):
            yield _number("l" + whole[start : start + length], seed, buckets)


@lru_cache(REMEMBERED)
def _remembered(word: str, shortest: int, longest: int, seed: int, buckets: int) -> tuple[int, ...]:
    return tuple(_of_word(word, shortest, longest, seed, buckets))


def _number(token: str, seed: int, buckets: int) -> int:
    """Return the token's number, 1 to `buckets` - 1: equal on all machines.

    Checksums of tokens that differ in one letter are near to each other; MurmurHash3's last steps (Appleby 2011) part
    them.
    """
    try:
        data = token.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates; to allow for them at once takes longer
        data = token.encode("utf-8", "surrogatepass")
    mixed = crc32(data, seed)
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & LOWEST  # a remainder would take several times as long
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & LOWEST
    number: int = 1 + ((mixed ^ mixed >> 16) * (buckets - 1) >> BITS)
    return number
