"""What a workload says of columns that change beside the target: numbers in any range, and categories."""

from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen

Known = Literal["past", "ahead"]
KNOWN: tuple[Known, ...] = ("ahead", "past")
KEPT = {
    "date": "a key",
    "series_id": "a key",
    "units": "the target",
    "holiday": "a column of its own: public holidays",
    "phase": "the name of a feature",
}
"""Columns and features that every forecasting workload has already."""


class Category(Frozen):
    """A column of categories that change over time. `known`: up to the origin alone, or over the horizon as well.

    `missing`: whether values may be null. A step without one is in none of the categories.
    """

    known: Known
    missing: bool = False


class Covariate(Category):
    """A column of numbers that change over time, of any size; `low` and `high` are what the checks let pass.

    `transform`: `none` is the number itself, 0 where there is no row; `standard` is normalised inside the model;
    `log-ratio` is the logarithm of the ratio to the value at the origin, of values above zero. With `low: 0` it takes
    zeros too, and counts them as a millionth. `missing`: values may be null, and a companion feature says where.
    """

    transform: Literal["none", "standard", "log-ratio"] = "none"
    low: float | None = Field(default=None)
    high: float | None = Field(default=None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.transform == "log-ratio" and self.low is not None and self.low < 0:
            raise ValueError(f"low: a log-ratio is of values above zero; expected 0 or more, got {self.low:g}")
        if self.low is not None and self.high is not None and self.high < self.low:
            raise ValueError(f"high: expected {self.low:g} or more, as low says, got {self.high:g}")
        return self

    @property
    def above(self) -> float | None:
        """What values must lie above: zero, where a ratio is made of them and `low` does not say otherwise."""
        return 0.0 if self.transform == "log-ratio" and self.low is None else None

    @property
    def uses_mean(self) -> bool:
        """Whether steps before its first value count as its mean in training: of a ratio as no change, else as zero."""
        return self.transform == "standard" or (self.transform == "none" and self.missing)


PRICE = Covariate(known="ahead", transform="log-ratio", low=0)
PROMOTION = Covariate(known="ahead", low=0, high=1)
"""What the options `price` and `promotions` of before name."""


def require_distinct(named: Mapping[str, Iterable[str]], outputs: Iterable[str]) -> None:
    """Raises ValueError when a column is named twice in the options, option -> columns, or has another meaning."""
    meant = {**KEPT, **dict.fromkeys(outputs, "the name of an output")}
    seen: dict[str, str] = {}
    for option, columns in named.items():
        for column in columns:
            if column in meant:
                raise ValueError(f"{option}: {column} is {meant[column]}; name another column, or rename it")
            if column in seen:
                raise ValueError(f"{option}: {column} is named in {seen[column]} already; name a column once")
            seen[column] = option
