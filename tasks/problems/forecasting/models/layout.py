"""The layout tells a forecasting model of its windows and outputs, read from the feature contract."""

from dataclasses import dataclass
from typing import Any, Self

from tasks.core.errors import ConfigError
from tasks.problems.base import FeatureContract

NORMALISATIONS = ("scale", "standard", "last", "volatility")


@dataclass(frozen=True)
class Layout:
    """A Layout has `context`, `horizon`, `season` in steps. `own`: covariates of a series' step, `calendar`: of time.

    `behind`: further ones of the series, known of past steps alone; they stand between the two. `outputs`: numbers a
    step, the quantiles and, with `mean`, the expected value as the last one. `positive`: outputs below zero become
    zero. `recent`: the newest steps of a window that say its level and size. `magnitude`: mean of |y| in training.
    """

    context: int
    horizon: int
    own: int
    behind: int
    calendar: int
    season: int
    quantiles: tuple[float, ...]
    mean: bool
    positive: bool
    normalise: str
    recent: int
    magnitude: float

    @classmethod
    def of(cls, contract: FeatureContract) -> Self:
        """Read the contract. Raises ConfigError on an unknown normalisation."""
        options: dict[str, Any] = contract.settings["options"]
        (context,), (horizon, own) = contract.inputs["units"][1], contract.inputs["future"][1]
        calendar = contract.inputs["calendar"][1][1]
        normalise = str(options.get("normalise", "scale"))
        if normalise not in NORMALISATIONS:
            known_kinds = ", ".join(NORMALISATIONS)
            raise ConfigError(f"problem.normalise: unknown kind {normalise!r}; there are: {known_kinds}")
        return cls(
            context=context,
            horizon=horizon,
            own=own,
            behind=contract.inputs["past"][1][1] - own - calendar,
            calendar=calendar,
            season=int(options["season"]),
            quantiles=tuple(options["quantiles"]),
            mean=bool(options.get("mean", False)),
            positive=bool(options.get("positive", True)),
            normalise=normalise,
            recent=int(options.get("normalise_steps") or context),
            magnitude=float(contract.statistics["mean_units"]),
        )

    @property
    def channels(self) -> int:
        """Count the channels of a past step: value, observed flag, covariates and calendar."""
        return 2 + self.told

    @property
    def told(self) -> int:
        """Count the covariates and calendar of a past step."""
        return self.own + self.behind + self.calendar

    @property
    def known(self) -> int:
        """Count the covariates and calendar of a future step."""
        return self.own + self.calendar

    @property
    def outputs(self) -> int:
        """Count the numbers of a future step."""
        return len(self.quantiles) + self.mean

    @property
    def centred(self) -> bool:
        """Return whether windows are normalised around anything but zero."""
        return self.normalise in ("standard", "last")

    @property
    def half_lives(self) -> tuple[int, ...]:
        """Return those of the means that make a volatility, in steps: a season and the context."""
        return (self.season, self.context) if self.normalise == "volatility" else ()

    @property
    def median(self) -> int:
        """Return the position of the median among the outputs."""
        return self.quantiles.index(0.5)
