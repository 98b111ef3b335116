"""A workload declares the columns that change beside the target: numbers in any range, and categories."""

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
"""Every forecasting workload has these columns and features already."""


class Category(Frozen):
    """A Category is a column of categories that change over time. `known`: up to the origin, or over the horizon too.

    `missing`: whether values may be null. A step without one is in none of the categories.
    """

    known: Known
    missing: bool = False


class Covariate(Category):
    """A Covariate is a column of numbers that change over time, of any size; the checks let pass `low` to `high`.

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
        """Return the number that values must exceed: zero, where a ratio is made of them and `low` is not set."""
        return 0.0 if self.transform == "log-ratio" and self.low is None else None

    @property
    def uses_mean(self) -> bool:
        """Return whether steps before its first value count as its training mean, not as no change (ratios) or zero."""
        return self.transform == "standard" or (self.transform == "none" and self.missing)


PRICE = Covariate(known="ahead", transform="log-ratio", low=0)
PROMOTION = Covariate(known="ahead", low=0, high=1)
"""The older options `price` and `promotions` name these covariates."""


def require_distinct(named: Mapping[str, Iterable[str]], outputs: Iterable[str]) -> None:
    """Raise ValueError when a column is named twice in the options, option -> columns, or has another meaning."""
    meant = {**KEPT, **dict.fromkeys(outputs, "the name of an output")}
    if "mean" in meant:
        meant["mean"] += " unless mean is false"
    seen: dict[str, str] = {}
    for option, columns in named.items():
        for column in columns:
            if column in meant:
                raise ValueError(f"{option}: {column} is {meant[column]}; name another column, or rename it")
            if column in seen:
                raise ValueError(f"{option}: {column} is named in {seen[column]} already; name a column once")
            seen[column] = option
