"""This module defines the `problem` section of a tabular workload whose rows have a label."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, explained

METRICS = {
    "value": ("rmse", "mae", "rmsle"),
    "classes": ("log_loss", "brier"),
    "yes-no": ("log_loss", "brier"),
}
"""The primary errors by task; the first is taken if none is named."""
RESERVED = ("row", "predicted")
PARTS_OF_DATE = ("days", "month", "monthday", "weekday")


class Options(Frozen):
    """Options give the table's columns their meaning; `target` is predicted from the others of its row.

    `task`: `value` (a number), `classes` (one of `classes`, as text) or `yes-no` (true or false, or a text that is or
    is not `positive`). `numbers`, `booleans` and `dates` may be null, which models see; `categories` have a code for
    each value of at least `min_count` training rows, and one for all others and null. `low`, `high`: limits of a
    value. `quantiles`: levels, such as 0.1 and 0.9, of which a value's quantiles are predicted beside it.

    A row is known again by `id`, or else by the values that it is predicted from. Test and validation rows are
    the `test_share` and `valid_share` whose hash says so: the same every night. With `time` they are the latest ones
    instead. Rows of one `group` are never in two splits. `weight` says how much a row counts, in losses and errors.

    `calibrate`: logits of classes are divided by the temperature that fits validation rows best, in the model's own
    graph.
    """

    target: str
    task: Literal["value", "classes", "yes-no"]
    metric: Literal["rmse", "mae", "rmsle", "log_loss", "brier"] | None = None
    classes: tuple[str, ...] = ()
    positive: str | None = None
    low: float | None = None
    high: float | None = None
    # Left out of files where there are none: those of releases before it say the same.
    quantiles: tuple[float, ...] = Field(default=(), exclude_if=lambda levels: not levels)
    numbers: tuple[str, ...] = ()
    booleans: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    min_count: int = Field(default=5, gt=0)
    id: tuple[str, ...] = ()
    time: str | None = None
    group: str | None = None
    weight: str | None = None
    valid_share: float = Field(default=0.15, gt=0, lt=0.5)
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    calibrate: Literal["temperature"] | None = Field(default=None, exclude_if=lambda way: way is None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        allowed = METRICS[self.task]
        if self.metric not in (None, *allowed):
            raise ValueError(f"metric: {self.metric} does not measure {self.task}; there are: {', '.join(allowed)}")
        if (self.task == "classes") != bool(self.classes):
            raise ValueError("classes: name the target's values, at least two, for task classes and for no other")
        if self.task == "classes" and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ValueError("classes: expected two different values or more")
        if self.positive is not None and self.task != "yes-no":
            raise ValueError("positive: only task yes-no has one")
        if self.task != "value" and (self.low is not None or self.high is not None):
            raise ValueError("low, high: only a value has limits")
        if self.task == "value" and self.calibrate:
            raise ValueError("calibrate: temperature is of classes; a value has none")
        if self.error == "rmsle" and (self.low is None or self.low < 0):
            raise ValueError("low: rmsle is of values from 0; write 0 or more")
        self._check_quantiles()
        if not self.predictors:
            raise ValueError("numbers: name what to predict from: numbers, booleans, dates or categories")
        self._check_names()
        return self

    def _check_quantiles(self) -> None:
        """Check the levels. Raises ValueError."""
        levels = self.quantiles
        if levels and self.task != "value":
            raise ValueError("quantiles: only a value has them; classes have chances")
        if len(levels) == 1 or sorted(set(levels)) != list(levels) or not all(0 < level < 1 for level in levels):
            raise ValueError("quantiles: expected two increasing levels or more between 0 and 1, such as [0.1, 0.9]")

    def _check_names(self) -> None:
        """Check that each column has one meaning. Raises ValueError."""
        named: set[str] = set()
        fields = {"target": (self.target,), "numbers": self.numbers, "booleans": self.booleans, "dates": self.dates}
        fields |= {"categories": self.categories, "id": self.id, "weight": (self.weight,) if self.weight else ()}
        answers = {*RESERVED, *(f"p_{label}" for label in self.labels), *self.bands}
        for field, names in fields.items():
            for name in names:
                if name in named:
                    raise ValueError(f"{field}: column {name!r} is named twice; each has one meaning")
                if name in answers or name.startswith("_"):
                    raise ValueError(f"{field}: the name {name!r} is taken; rename the column in the source")
                named.add(name)
        self._check_roles()
        features = self.features
        if twice := next((one for one, other in pairwise(sorted(features)) if one == other), None):
            raise ValueError(f"two features would be called {twice}; rename a column in the source")

    def _check_roles(self) -> None:
        """Check time and group, which may be predictors too. Raises ValueError."""
        own = {self.target, self.weight}
        for field, role in (("time", self.time), ("group", self.group)):
            if role is not None and (role in own or role in RESERVED or role.startswith("_")):
                raise ValueError(f"{field}: the name {role!r} is taken; name another column")
        if self.time is not None and self.time == self.group:
            raise ValueError("group: it cannot be the column of time")
        if self.time in (*self.numbers, *self.booleans, *self.categories, *self.id):
            raise ValueError(f"time: {self.time!r} is a column of dates; it may be named in dates alone")
        if self.group in (*self.numbers, *self.booleans, *self.dates):
            raise ValueError(f"group: {self.group!r} is a column of text; it may be named in categories or id alone")

    @property
    def error(self) -> str:
        """Return the primary error."""
        return self.metric or METRICS[self.task][0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the classes in the order of a model's outputs; none for a value."""
        if self.task == "yes-no":
            return (f"not {self.positive}", self.positive) if self.positive is not None else ("no", "yes")
        return self.classes

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the names of the quantiles: p10, p90."""
        return tuple(f"p{level * 100:g}" for level in self.quantiles)

    @property
    def width(self) -> int:
        """Return the number of a model's outputs: of the classes, or a value and its quantiles."""
        return len(self.labels) or 1 + len(self.quantiles)

    @property
    def predictors(self) -> tuple[str, ...]:
        """Return the columns that a row is predicted from."""
        return (*self.numbers, *self.booleans, *self.dates, *self.categories)

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names of the numeric features in the order of the model's input."""
        return (*self.numbers, *self.booleans, *(f"{name}_{part}" for name in self.dates for part in PARTS_OF_DATE))


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(dict(options))
