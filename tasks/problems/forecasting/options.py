"""The `problem` section of a forecasting workload."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tasks.core.config import Frozen, explained


class Options(Frozen):
    """`horizon`, `context`, `season` in steps of `frequency`. `static`, `price`, `promotions` name table columns.

    `quantiles` are forecast, and the expected value beside them with `mean`. `metric`: the primary error, WAPE of the
    median or the squared error of the one output, which then is an expected value too. `positive`: no forecast is below
    zero. `normalise`: what models divide a window by and take off it (tasks/problems/forecasting/models/normalise.py).
    `stride`: steps between training origins of a series. The last `test_origins` and the `valid_origins` before them,
    `origin_step` steps apart, make the other splits. A training origin has at least `min_history` steps behind it.
    `country`: ISO code for public holidays, used when the table has no `holiday` column.
    """

    horizon: int = Field(default=28, gt=0)
    context: int = Field(default=56, gt=0)
    frequency: Literal["1w", "1d", "1h", "30m", "15m", "10m"] = "1d"
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    mean: bool = False
    metric: Literal["wape", "mse"] = "wape"
    positive: bool = True
    normalise: Literal["scale", "standard", "last"] = "scale"
    season: int = Field(default=7, gt=0)
    country: str | None = None
    static: tuple[str, ...] = ("store_id", "department")
    price: str | None = "price"
    promotions: tuple[str, ...] = ("promo_display", "promo_mailer")
    stride: int = Field(default=1, gt=0)
    test_origins: int = Field(default=2, gt=0)
    valid_origins: int = Field(default=2, gt=0)
    origin_step: int = Field(default=7, gt=0)
    min_history: int = Field(default=28, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        levels = self.quantiles
        if sorted(set(levels)) != list(levels) or 0.5 not in levels or not all(0 < level < 1 for level in levels):
            raise ValueError("quantiles: expected increasing levels between 0 and 1 with 0.5 among them")
        if self.metric == "mse" and (len(levels) > 1 or self.mean):
            raise ValueError("metric: mse is the error of a single output; set quantiles: [0.5] and mean: false")
        if self.context <= self.season:
            raise ValueError(f"context: expected more than one season of {self.season} steps")
        self._check_names()
        return self

    def _check_names(self) -> None:
        """Each name has one meaning: a column of the table, a feature or an output. Raises ValueError."""
        meant = {"date": "a key", "series_id": "a key", "units": "the target", "holiday": "a column of its own"}
        meant |= {"phase": "the name of a feature"} | dict.fromkeys(self.outputs, "the name of an output")
        for field, names in (
            ("static", self.static),
            ("price", (self.price,) if self.price else ()),
            ("promotions", self.promotions),
        ):
            for name in names:
                if name in meant:
                    raise ValueError(f"{field}: {name} is {meant[name]}; name another column, or rename it")
                meant[name] = f"named in {field} already"

    @property
    def median(self) -> int:
        """Position of the median among the outputs."""
        return self.quantiles.index(0.5)

    @property
    def whole_days(self) -> bool:
        """Whether steps begin at midnight, so that a date says all of them."""
        return self.frequency in ("1d", "1w")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of a step's outputs in order: p10, p50, p90, mean."""
        return (*(f"p{level * 100:g}" for level in self.quantiles), *(("mean",) if self.mean else ()))


def parse_options(options: Mapping[str, Any]) -> Options:
    """Validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(options)
