"""This tunes and fits boosted trees of a library on lags, rolling means, calendar and covariates: direct forecasts.

One model is for all steps. The objective is the metric's: pinball for quantiles; L2 or Tweedie for the mean. How a
series' level is taken out, and the size of a tree, are chosen on the validation windows, for all quantiles by the L1 of
the median, or for each by its pinball loss where that decides; the number of trees by early stopping there. The final
models learn from everything up to `data.fit_end`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from time import process_time
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bench.metrics import QUANTILES, Forecasts, naive_scale
from bench.peers.base import Result
from bench.peers.table import Index, Level, Rows, Table, all_steps
from bench.sets import BenchSet, Floats

TUNING_ROWS, FINAL_ROWS, CHECK_ROWS = 300_000, 1_500_000, 150_000
CHUNK = 400_000
QUANTILE = "quantile-"
"""An objective `quantile-0.9` is the pinball loss at 0.9. The others: regression_l1, regression, tweedie."""


@dataclass(frozen=True)
class Learned:
    """Rows that a model learns from: `x` (n, F), `target` (n,), `weight` (n,) or None.

    `categorical`: the columns that hold codes, the last ones.
    """

    x: Floats
    target: Floats
    weight: Floats | None
    names: Sequence[str]
    categorical: Sequence[str]


class Model(Protocol):
    """A model has learned; `trees`: how many of them were best on the rows that it was checked by."""

    @property
    def trees(self) -> int: ...
    def predict(self, x: Floats, trees: int) -> Floats: ...
    def parameters(self) -> int: ...
    def size(self) -> int: ...


class Library(Protocol):
    """A library has two sizes of a tree to choose from, and the most trees of a model.

    `prepare` makes its own form of rows, that of a check by that of the rows (`like`); `fit` learns from it, and with a
    `check` stops early.
    """

    @property
    def sizes(self) -> tuple[int, int]: ...
    @property
    def most(self) -> int: ...
    def prepare(self, rows: Learned, like: Any = None) -> Any: ...
    def fit(self, rows: Any, objective: str, size: int, trees: int, seed: int, check: Any = None) -> Model: ...


@dataclass(frozen=True)
class Choice:
    """A choice is one setting and its number of trees by validation; `size` is the library's, of a tree."""

    level: Level
    size: int
    objective: str
    trees: int

    def __str__(self) -> str:
        return f"{self.objective} {self.level} {self.size}"

    @classmethod
    def named(cls, setting: str, trees: int) -> "Choice":
        """Return the choice that prints as `setting`."""
        objective, level, size = setting.split()
        return cls(cast(Level, level), int(size), objective, trees)


def fit_predict(data: BenchSet, seed: int, library: Library, chosen: Mapping[str, Any] | None = None) -> Result:
    """Forecast three quantiles and the mean, or the mean alone for MSE."""
    start = process_time()
    known = {name: Choice.named(**one) for name, one in (chosen or {}).items()}
    choices, tried = (known, {}) if known else tune(data, seed, library)
    tuned = process_time()
    models = _final(data, choices, seed, library)
    fitted = process_time()
    tables = {choice.level: Table(data, choice.level) for choice in choices.values()}
    outputs = _forecast(tables, choices, models, data.origins.test)
    done = process_time()
    quantiles = None
    if data.metric != "mse":
        # Models know nothing of each other: sorting removes crossings and never raises the pinball loss.
        quantiles = np.sort(np.stack([outputs[str(q)] for q in QUANTILES], axis=-1), axis=-1)
    return Result(
        forecasts=Forecasts(outputs["mean"], quantiles),
        train_seconds=fitted - start,
        fit_seconds=fitted - tuned,
        predict_seconds=done - fitted,
        parameters=sum(model.parameters() for model in models.values()),
        size=sum(model.size() for model in models.values()),
        settings={name: {"setting": str(choice), "trees": choice.trees} for name, choice in choices.items()},
        tried=tried,
        single=lambda: _forecast(tables, choices, models, data.origins.test[-1:], first=True),
    )


def tune(data: BenchSet, seed: int, library: Library) -> tuple[dict[str, Choice], dict[str, float]]:
    """Return the best setting for the median or each quantile and for the mean, and every setting's error.

    Errors are of sampled validation windows: WAPE for the median, pinball loss for quantiles, RMSSE for the mean; MSE
    for the sets scored by it.
    """
    levels: tuple[Level, ...] = ("none", "last", "mean") if data.metric == "mse" else ("none", "ratio")
    means = ("regression", "tweedie") if data.metric != "mse" and data.values.min() >= 0 else ("regression",)
    asked: dict[str, tuple[str, ...]] = {"0.5": ("regression_l1",)} if data.metric == "wape" else {}
    if data.metric == "wql":
        asked = {str(q): (f"{QUANTILE}{q}",) for q in QUANTILES}
    asked |= {"mean": means}
    chosen: dict[str, Choice] = {}
    tried: dict[str, float] = {}
    few, many = library.sizes
    for name, objectives in asked.items():
        errors = dict(_attempt(data, one, level, few, seed, library) for one, level in product(objectives, levels))
        best = min(errors, key=lambda choice: errors[choice])
        errors |= dict([_attempt(data, best.objective, best.level, many, seed, library)])
        chosen[name] = min(errors, key=lambda choice: errors[choice])
        tried |= {str(choice): error for choice, error in errors.items()}
    return chosen, tried


def _attempt(
    data: BenchSet, objective: str, level: Level, size: int, seed: int, library: Library
) -> tuple[Choice, float]:
    """Return a setting with its number of trees, and its error on validation."""
    table = Table(data, level)
    pairs = table.sample(data.origins.train_end, 0, TUNING_ROWS, np.random.default_rng(seed))
    train = library.prepare(learned(table, pairs, objective))
    first, last = data.origins.valid[0], data.origins.valid[-1] + data.horizon
    rng = np.random.default_rng(seed + 1)
    origins = np.array(data.origins.valid)
    if data.metric == "mse":
        series, at, steps = table.sample(last, first, CHECK_ROWS, rng)
    else:
        series, at, steps = all_steps(data, origins.tolist())
        keep = np.sort(rng.permutation(len(series))[: math.ceil(CHECK_ROWS / data.horizon)])
        series, at, steps = series[keep], at[keep], steps[keep]
    check = library.prepare(learned(table, (series, at, steps), objective), like=train)
    model = library.fit(train, objective, size, library.most, seed, check)
    built = table.rows(series, at, steps)
    output = model.predict(built.x, model.trees)
    actual = table.targets(series, at, steps, built)
    gap = (output - actual).astype(np.float64) * built.scale
    seen = np.isfinite(actual)
    if _absolute(objective):
        quantile = float(objective.removeprefix(QUANTILE)) if objective.startswith(QUANTILE) else 0.5
        loss = 2 * np.maximum(-quantile * gap, (1 - quantile) * gap)
        error = loss[seen].sum() / np.abs(actual * built.scale + built.offset)[seen].sum()
    elif data.metric == "mse":
        error = np.square(gap[seen]).mean()
    else:
        squares = np.where(seen, np.square(gap), 0).reshape(-1, data.horizon).sum(axis=1)
        count, scale = seen.reshape(-1, data.horizon).sum(axis=1), naive_scale(data, data.origins.train_end)[series]
        usable = (count > 0) & (scale > 0)
        error = np.sqrt(squares[usable] / count[usable] / scale[usable]).mean()
    return Choice(level, size, objective, model.trees), float(error)


def _final(data: BenchSet, choices: Mapping[str, Choice], seed: int, library: Library) -> dict[str, Model]:
    """Fit a model for each output on everything up to `data.fit_end`, with the numbers of trees of validation."""
    models: dict[str, Model] = {}
    made: tuple[Any, Any] = (None, None)
    for name in ["mean", *(map(str, QUANTILES) if data.metric != "mse" else ())]:
        choice = _of(choices, name)
        objective = choice.objective if name == "mean" else f"{QUANTILE}{name}"
        form = (choice.level, _absolute(objective))
        if made[0] != form:  # outputs that learn from the same rows share them
            table = Table(data, choice.level)
            pairs = table.sample(data.fit_end, 0, FINAL_ROWS, np.random.default_rng(seed))
            made = form, library.prepare(learned(table, pairs, objective))
        models[name] = library.fit(made[1], objective, choice.size, choice.trees, seed)
    return models


def _of(choices: Mapping[str, Choice], output: str) -> Choice:
    return choices.get(output) or choices["0.5"]


def _absolute(objective: str) -> bool:
    return objective == "regression_l1" or objective.startswith(QUANTILE)


def learned(table: Table, pairs: tuple[Index, Index, Index], objective: str) -> Learned:
    """Return the observed rows of pairs of series and origin, with their targets and weights."""
    rows = table.rows(*pairs)
    target = table.targets(*pairs, rows)
    seen = np.isfinite(target)
    weight = _weights(table, pairs, rows, objective)
    weight = None if weight is None else weight[seen]
    return Learned(rows.x[seen], target[seen], weight, table.names, table.categorical)


def _weights(table: Table, pairs: tuple[Index, Index, Index], rows: Rows, objective: str) -> Floats | None:
    """Return weights for errors of the scaled target: units in WAPE, their square over RMSSE's denominator."""
    if _absolute(objective):
        return rows.scale
    if table.data.metric == "mse":
        return None
    series, _, steps = pairs
    scale = np.repeat(naive_scale(table.data, table.data.origins.train_end)[series], steps.shape[1])
    weight: NDArray[Any] = np.where(
        scale > 0, np.square(rows.scale.astype(np.float64)) / np.where(scale > 0, scale, 1), 0
    )
    # Around one: LightGBM's smallest sum of hessians in a leaf is absolute.
    relative: Floats = (weight / weight.mean()).astype(np.float32)
    return relative


def _forecast(
    tables: Mapping[Level, Table],
    chosen: Mapping[str, Choice],
    models: Mapping[str, Model],
    origins: Sequence[int],
    *,
    first: bool = False,
) -> dict[str, Floats]:
    """Return each model's forecasts (W, N, horizon), in bounded numbers of rows; `first`: of one series alone."""
    data = next(iter(tables.values())).data
    series, at, steps = all_steps(data, origins)
    if first:
        series, at, steps = series[:1], at[:1], steps[:1]
    outputs = {name: np.empty(steps.shape, np.float32) for name in models}
    size = max(1, CHUNK // data.horizon)
    for begin in range(0, len(series), size):
        part = slice(begin, begin + size)
        built = {level: table.rows(series[part], at[part], steps[part]) for level, table in tables.items()}
        for name, model in models.items():
            choice = _of(chosen, name)
            rows = built[choice.level]
            output = model.predict(rows.x, choice.trees) * rows.scale + rows.offset
            outputs[name][part] = output.reshape(-1, data.horizon)
    return {name: output.reshape(len(origins), -1, data.horizon) for name, output in outputs.items()}
