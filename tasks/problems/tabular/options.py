"""This module defines the `problem` section of a tabular workload."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, explained

RESERVED = ("origin", "previous", "amount", "split", "label", "predicted")


class Options(Frozen):
    """Options give the table's columns their meaning; one row of it is one entity on one day.

    The label of an entity at an origin is the class of the sum of `target` over the `horizon_days` after it: the first
    of `classes` when it is zero, else by the inner bounds `edges`. Without `edges` these are the `quantiles` of the
    positive sums of the training split; then the classes mean something else every night, and a champion of an earlier
    night cannot be compared with. Use them to find good edges.

    Features are sums of `target` and `amounts` over the `windows` (days), the share of `parts` in the target, days
    since the last and the first purchase, days with a purchase, and the latest values of `categories`.
    Training has at most `train_origins` origins, `step_days` apart, each with `min_history_days` of table behind it.

    `calibrate`: logits are divided by the temperature that fits validation rows best, in the model's own graph.
    """

    entity: str
    date: str = "date"
    target: str
    horizon_days: int = Field(default=28, gt=0)
    step_days: int = Field(default=7, gt=0)
    train_origins: int = Field(default=30, gt=0)
    min_history_days: int = Field(default=28, gt=0)
    classes: tuple[str, ...] = ("none", "low", "medium", "high")
    edges: tuple[float, ...] | None = None
    quantiles: tuple[float, ...] = (1 / 3, 2 / 3)
    windows: tuple[int, ...] = (7, 28, 84)
    amounts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    calibrate: Literal["temperature"] | None = Field(default=None, exclude_if=lambda way: way is None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bounds, name = (self.quantiles, "quantiles") if self.edges is None else (self.edges, "edges")
        if len(bounds) != len(self.classes) - 2:
            raise ValueError(
                f"{name}: {len(self.classes)} classes need {len(self.classes) - 2} of them, not {len(bounds)}"
            )
        if not _increasing((0.0, *bounds)) or (self.edges is None and bounds[-1:] >= (1.0,)):
            raise ValueError(
                f"{name}: expected increasing numbers above 0" + (" and below 1" if not self.edges else "")
            )
        if len(self.windows) < 2 or not _increasing((0, *self.windows)):
            raise ValueError("windows: expected at least two increasing numbers of days")
        if self.horizon_days % self.step_days:
            raise ValueError(f"step_days: expected a divisor of horizon_days, {self.horizon_days}")
        self._check_names()
        return self

    def _check_names(self) -> None:
        """Check that each name has one meaning: a column of the table, a feature or an output. Raises ValueError."""
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: one is named twice")
        made = [*RESERVED, *self.features, *(f"p_{name}" for name in self.classes)]
        named: set[str] = set()
        for field in ("entity", "date", "target", "amounts", "parts", "categories"):
            value = getattr(self, field)
            for name in (value,) if isinstance(value, str) else value:
                if name in named:
                    raise ValueError(f"{field}: column {name!r} is named twice; each has one meaning")
                if name in made or name.startswith("_"):
                    raise ValueError(f"{field}: the name {name!r} is taken; rename the column in the source")
                named.add(name)
        if twice := next((name for name in made if made.count(name) > 1), None):
            raise ValueError(f"two features would be called {twice}; rename a column in the source")

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names of the numeric features in the order of the model's input."""
        return (
            "recency_days",
            "tenure_share",
            *(f"active_days_{window}" for window in self.windows),
            *(f"{name}_{window}" for name in self.sums for window in self.windows),
            f"{self.target}_trend",
            *(f"{name}_share" for name in self.parts),
        )

    @property
    def sums(self) -> tuple[str, ...]:
        """Return the columns that are summed over windows."""
        return (self.target, *self.amounts)


def _increasing(numbers: tuple[float, ...]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(dict(options))
