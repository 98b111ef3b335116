"""The `problem` section of a tabular workload."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, explained

RESERVED = ("origin", "previous", "amount", "split", "label")


class Options(Frozen):
    """Which columns of the table mean what; one row of it is one entity on one day.

    The label of an entity at an origin is the class of the sum of `target` over the `horizon_days` after it: the first
    of `classes` when it is zero, else by the inner bounds `edges`. Without `edges` these are the `quantiles` of the
    positive sums of the training split; then the classes mean something else every night, and a champion of an earlier
    night cannot be compared with. Use them to find good edges.

    Features are sums of `target` and `amounts` over the `windows` (days), the share of `parts` in the target, days
    since the last and the first purchase, days with a purchase, and the latest values of `categories`.
    Training has at most `train_origins` origins, `step_days` apart, each with `min_history_days` of table behind it.
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
        columns = [self.entity, self.date, self.target, *self.amounts, *self.parts, *self.categories]
        for name in columns:
            if columns.count(name) > 1 or name in RESERVED or name.startswith("_"):
                raise ValueError(f"column {name!r} is named twice, or its name is taken; rename it in the source")
        return self

    @property
    def sums(self) -> tuple[str, ...]:
        """Columns that are summed over windows."""
        return (self.target, *self.amounts)


def _increasing(numbers: tuple[float, ...]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


def parse_options(options: Mapping[str, Any]) -> Options:
    """Validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(dict(options))
