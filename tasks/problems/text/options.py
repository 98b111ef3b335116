"""This module defines the `problem` section of a workload of texts."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, explained

RESERVED = ("row", "predicted", "label")


class Options(Frozen):
    """Options give the table's columns their meaning: `target`, one of `classes`, is told from `text`.

    A row without a label is learned from only by what teachers say of it. `other`: the class of what is out of scope.
    Rows are known again by `id`. Equal texts are in one split, or rows of one `group`; test and validation have the
    `test_share` and `valid_share` whose hash says so, or with `time` the latest rows. A column `split` says instead
    which of `train`, `valid` and `test` a row is in (none: null), for data that come with it. Errors are told apart by
    label and by `segments`, columns of text such as a language.

    Models see a text twice: as the set of its words, of their runs of up to `runs` and of runs of `letters` (shortest
    and longest) within a word, at most `length` of them; and as its words in order, at most `words` of them. Both are
    numbers below `buckets`. No text has more than `longest` characters.

    A night stops at more than the share `max_empty` of texts without a word, `max_conflicts` of rows whose text stands
    elsewhere with another label, `max_odd` of rows with control characters or signs of a wrong encoding, or at a class
    of fewer than `least_rows` rows.

    `calibrate`: logits are divided by the temperature that fits validation rows best, in the model's own graph.
    """

    text: str = "text"
    target: str = "label"
    classes: tuple[str, ...] = Field(min_length=2)
    other: str | None = None
    id: tuple[str, ...] = ()
    time: str | None = None
    group: str | None = None
    split: str | None = None
    segments: tuple[str, ...] = ()
    valid_share: float = Field(default=0.15, gt=0, lt=0.5)
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    runs: int = Field(default=2, gt=0, le=5)
    letters: tuple[int, int] = (2, 5)
    length: int = Field(default=384, gt=0, le=4096)
    words: int = Field(default=64, gt=0, le=4096)
    buckets: int = Field(default=2**18, ge=2**8, le=2**24)
    longest: int = Field(default=2000, gt=0, le=100_000)
    max_empty: float = Field(default=0.0, ge=0, lt=1)
    max_conflicts: float = Field(default=0.02, ge=0, lt=1)
    max_odd: float = Field(default=0.01, ge=0, lt=1)
    least_rows: int = Field(default=10, gt=0)
    calibrate: Literal["temperature"] | None = Field(default=None, exclude_if=lambda way: way is None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: one is named twice")
        if self.other is not None and self.other not in self.classes:
            raise ValueError(f"other: {self.other!r} is none of the classes")
        if not 1 <= self.letters[0] <= self.letters[1] <= 8:
            raise ValueError("letters: expected the shortest and the longest run of letters, 1 to 8")
        taken = {*RESERVED[:2], *(f"p_{name}" for name in self.classes)}
        named: set[str] = set()
        columns = [("text", (self.text,)), ("target", (self.target,)), ("id", self.id), ("segments", self.segments)]
        columns += [("time", (self.time,) if self.time else ()), ("split", (self.split,) if self.split else ())]
        for field, names in columns:
            for name in names:
                if name in named:
                    raise ValueError(f"{field}: column {name!r} is named twice; each has one meaning")
                if name in taken or name.startswith("_"):
                    raise ValueError(f"{field}: the name {name!r} is taken; rename the column in the source")
                named.add(name)
        if self.group in (self.text, self.target, self.time, self.split) and self.group is not None:
            raise ValueError(f"group: {self.group!r} has another meaning; name another column")
        if "label" in self.segments:
            raise ValueError("segments: errors are told by label in any case; leave it out")
        return self


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(dict(options))
