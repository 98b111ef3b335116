"""This module defines the `problem` section of a forecasting workload."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.config import Frozen, explained
from tasks.problems.forecasting.covariates import PRICE, PROMOTION, Category, Covariate, Known, require_distinct
from tasks.tables.steps import Frequency, Step

SERIES_ID = ("series_id",)


class Options(Frozen):
    """`horizon`, `context`, `season` are in steps of `frequency`. `static`, `numbers`: columns fixed by series.

    `series`: columns whose values together name a series, which may be `static` too; without any there is one series.

    `covariates`, `categories`: columns that change over time, kept sorted by name. `price`, `promotions`: short forms
    of covariates known ahead; once another option names columns, there are none unless they are given. `quantiles` are
    forecast, and the expected value beside them with `mean`; a section that says nothing of it has it, unless it asks
    for a single number, the median. `metric`: the primary error, WAPE or absolute error of the median, weighted
    quantile loss, or the squared error of the one output, which then is an expected value too.
    `naive`: the forecast that every candidate must beat: the last season repeated, or (`trailing`) the quantiles of a
    series' last `naive_steps` values, without it of the context. `positive`: no forecast is below zero. `normalise`:
    what models divide a window by and take off it (tasks/problems/forecasting/models/normalise.py), of its newest
    `normalise_steps` where that is given.
    `stride`: steps between training origins of a series. The last `test_origins` and the `valid_origins` before them,
    `origin_step` steps apart, make the other splits. A training origin has at least `min_history` steps behind it.
    `country`: ISO code for public holidays, used when the table has no `holiday` column. `calibrate`: quantiles are
    moved to where validation rows say that they belong (tasks/problems/forecasting/conformal.py).
    """

    horizon: int = Field(default=28, gt=0)
    context: int = Field(default=56, gt=0)
    frequency: Frequency = "1d"
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    mean: bool = Field(default_factory=lambda given: len(given.get("quantiles", ())) > 1)
    metric: Literal["wape", "wql", "mae", "mse"] = "wape"
    positive: bool = True
    normalise: Literal["scale", "standard", "last", "volatility"] = "scale"
    normalise_steps: int | None = Field(default=None, gt=0, exclude_if=lambda steps: steps is None)
    season: int = Field(default=7, gt=0)
    # Left out of files where they are the defaults, like `series`.
    naive: Literal["season", "trailing"] = Field(default="season", exclude_if=lambda kind: kind == "season")
    naive_steps: int | None = Field(default=None, gt=0, exclude_if=lambda steps: steps is None)
    country: str | None = None
    calibrate: Literal["conformal"] | None = Field(default=None, exclude_if=lambda way: way is None)
    # Left out of files where it is the default: those of releases before it say the same.
    series: tuple[str, ...] = Field(default=SERIES_ID, exclude_if=lambda columns: columns == SERIES_ID)
    static: tuple[str, ...] = ("store_id", "department")
    numbers: tuple[str, ...] = ()
    covariates: dict[str, Covariate] = Field(default={})
    categories: dict[str, Category] = Field(default={})
    price: str | None = "price"
    promotions: tuple[str, ...] = ("promo_display", "promo_mailer")
    stride: int = Field(default=1, gt=0)
    test_origins: int = Field(default=2, gt=0)
    valid_origins: int = Field(default=2, gt=0)
    origin_step: int = Field(default=7, gt=0)
    min_history: int = Field(default=28, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        """Drop the default columns if others are named: only workloads that name none mean them."""
        if isinstance(given, Mapping) and given.keys() & {"covariates", "categories", "numbers"}:
            return {"price": None, "promotions": (), **given}
        return given

    @field_validator("covariates", "categories")
    @classmethod
    def _sorted(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Sort by name: files that are written sorted would lose another order."""
        return dict(sorted(given.items()))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        levels = self.quantiles
        if sorted(set(levels)) != list(levels) or 0.5 not in levels or not all(0 < level < 1 for level in levels):
            raise ValueError("quantiles: expected increasing levels between 0 and 1 with 0.5 among them")
        if self.metric == "mse" and (len(levels) > 1 or self.mean):
            raise ValueError("metric: mse is the error of a single output; set quantiles: [0.5] and mean: false")
        if self.calibrate and not levels[0] < 0.5 < levels[-1]:
            raise ValueError("calibrate: conformal moves quantiles on both sides of the median; name them in quantiles")
        if self.context <= self.season:
            raise ValueError(f"context: expected more than one season of {self.season} steps")
        if self.naive_steps is not None and (self.naive != "trailing" or self.naive_steps > self.context):
            raise ValueError(f"naive_steps: of naive: trailing alone, and at most the context of {self.context} steps")
        if self.normalise_steps is not None and (self.normalise == "volatility" or self.normalise_steps > self.context):
            raise ValueError(
                f"normalise_steps: not of normalise: volatility, and at most the context of {self.context} steps"
            )
        require_distinct(
            {
                "series": [name for name in self.series if name not in (*SERIES_ID, *self.static)],
                "static": self.static,
                "numbers": self.numbers,
                "price": [self.price] if self.price else [],
                "promotions": self.promotions,
                "covariates": self.covariates,
                "categories": self.categories,
            },
            self.outputs,
        )
        if twice := [name for place, name in enumerate(self.series) if name in self.series[:place]]:
            raise ValueError(f"series: {twice[0]} is named twice; name a column once")
        names = [*self.covariate_features("ahead"), *self.covariate_features("past"), *self.numbers, "holiday_ahead"]
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise ValueError(f"covariates: two features would be named {twice[0]}; rename a column")
        return self

    def covariates_known(self, known: Known) -> dict[str, Covariate]:
        """Return covariates by column, in the order of their features; the short forms' columns come first."""
        price = {self.price: PRICE} if self.price else {}
        every = {**price, **dict.fromkeys(self.promotions, PROMOTION), **self.covariates}
        return {column: covariate for column, covariate in every.items() if covariate.known == known}

    def categories_known(self, known: Known) -> tuple[str, ...]:
        """Return the columns of categories that change over time, in the order of their features."""
        return tuple(column for column, category in self.categories.items() if category.known == known)

    def feature(self, column: str, covariate: Covariate) -> str:
        """Return the name of a covariate's feature; that of `price` is the same whatever its column is called."""
        if covariate.transform != "log-ratio":
            return column
        return "price_change" if column == self.price else f"{column}_change"

    def covariate_features(self, known: Known) -> tuple[str, ...]:
        """Return the names of covariates' features in order, each followed by its companion if it has one."""
        names: list[str] = []
        for column, covariate in self.covariates_known(known).items():
            names += [self.feature(column, covariate), *([f"{column}_missing"] if covariate.missing else [])]
        return tuple(names)

    @property
    def median(self) -> int:
        """Return the position of the median among the outputs."""
        return self.quantiles.index(0.5)

    @property
    def step(self) -> Step:
        """Return the step of the time axis."""
        return Step(self.frequency)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of a step's outputs in order: p10, p50, p90, mean."""
        return (*(f"p{level * 100:g}" for level in self.quantiles), *(("mean",) if self.mean else ()))


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(options)
