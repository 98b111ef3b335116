"""This module defines peers and their results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bench.metrics import Forecasts
from bench.sets import BenchSet
from tasks.core.errors import ConfigError

Split = Literal["valid", "test"]


@dataclass(frozen=True)
class Result:
    """A result has forecasts of the test windows, and their cost.

    `train_seconds`: everything before the first forecast, tuning included; `fit_seconds`: of that, the final fit.
    `predict_seconds`: all test windows. `parameters`: fitted numbers; `size`: bytes of the fitted model as its library
    stores it. `settings`: what was chosen; `tried`: validation error of each choice. `single`: forecasts the first
    series from the last test origin, for the speed at batch 1; None where a peer has no such path.
    """

    forecasts: Forecasts
    train_seconds: float
    fit_seconds: float
    predict_seconds: float
    parameters: int
    size: int
    settings: Mapping[str, Any]
    tried: Mapping[str, float] = field(default_factory=dict)
    single: Callable[[], object] | None = None


class Unsuitable(ConfigError):
    """The peer cannot work on the set in sensible time; the message says why."""


class Peer(Protocol):
    """A peer tunes on the validation windows, fits up to `data.fit_end`, and forecasts the test windows.

    `data` is sealed: it holds nothing after the last test origin. `chosen`: the settings of an earlier result, then
    nothing is tuned. Raises Unsuitable.
    """

    def __call__(self, data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result: ...
