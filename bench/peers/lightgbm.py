"""LightGBM (Ke et al. 2017) learns lags, rolling means, calendar and known covariates: direct, one model for all steps.

The objective is the metric's: pinball for quantiles, for the median tuned as L1; L2 or Tweedie for the mean. How a
series' level is taken out, and the number of leaves, are chosen on the validation windows; the number of trees, at most
300, by early stopping there.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from time import process_time
from typing import Any, cast

import lightgbm as lgb
import numpy as np

from bench.metrics import QUANTILES, Forecasts, naive_scale
from bench.peers.base import Result
from bench.peers.table import Index, Level, Rows, Table, all_steps
from bench.sets import BenchSet, Floats

TREES, PATIENCE = 300, 30
LEAVES = (31, 127)
TUNING_ROWS, FINAL_ROWS, CHECK_ROWS = 300_000, 1_500_000, 150_000
CHUNK = 400_000
BASE: dict[str, Any] = {
    "learning_rate": 0.05,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": len(os.sched_getaffinity(0)),
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Choice:
    """A choice is one setting and its number of trees by validation."""

    level: Level
    leaves: int
    objective: str
    trees: int

    def __str__(self) -> str:
        return f"{self.objective} {self.level} {self.leaves}"

    @classmethod
    def named(cls, setting: str, trees: int) -> "Choice":
        """Return the choice that prints as `setting`."""
        objective, level, leaves = setting.split()
        return cls(cast(Level, level), int(leaves), objective, trees)


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """Forecast three quantiles and the mean for WAPE, the mean alone for MSE."""
    start = process_time()
    choices, tried = ({name: Choice.named(**one) for name, one in chosen.items()}, {}) if chosen else _tune(data, seed)
    tuned = process_time()
    models = _final(data, choices["mean"], {"mean": {}}, seed)
    if data.metric == "wape":
        models |= _final(data, choices["0.5"], {str(q): {"objective": "quantile", "alpha": q} for q in QUANTILES}, seed)
    fitted = process_time()
    tables = {choice.level: Table(data, choice.level) for choice in choices.values()}
    outputs = _forecast(tables, choices, models, data.origins.test)
    done = process_time()
    quantiles = None
    if data.metric == "wape":
        # Boosters know nothing of each other: sorting removes crossings and never raises the pinball loss.
        quantiles = np.sort(np.stack([outputs[str(q)] for q in QUANTILES], axis=-1), axis=-1)
    return Result(
        forecasts=Forecasts(outputs["mean"], quantiles),
        train_seconds=fitted - start,
        fit_seconds=fitted - tuned,
        predict_seconds=done - fitted,
        parameters=sum(parameters(model) for model in models.values()),
        size=sum(len(model.model_to_string()) for model in models.values()),
        settings={name: {"setting": str(choice), "trees": choice.trees} for name, choice in choices.items()},
        tried=tried,
        single=lambda: _forecast(tables, choices, models, data.origins.test[-1:], first=True),
    )


def parameters(booster: lgb.Booster) -> int:
    """Count leaf values and split thresholds of all trees."""
    return sum(2 * tree["num_leaves"] - 1 for tree in booster.dump_model()["tree_info"])


def _tune(data: BenchSet, seed: int) -> tuple[dict[str, Choice], dict[str, float]]:
    """Return the best setting for the median and for the mean, and every setting's error on validation.

    Errors are of sampled validation windows: WAPE for the median, RMSSE for the mean; MSE for the sets scored by it.
    """
    levels: tuple[Level, ...] = ("none", "last", "mean") if data.metric == "mse" else ("none", "ratio")
    means = ("regression", "tweedie") if data.metric == "wape" and data.values.min() >= 0 else ("regression",)
    asked = {"0.5": ("regression_l1",), "mean": means} if data.metric == "wape" else {"mean": means}
    chosen: dict[str, Choice] = {}
    tried: dict[str, float] = {}
    few, many = LEAVES
    for name, objectives in asked.items():
        errors = dict(_attempt(data, one, level, few, seed) for one, level in product(objectives, levels))
        best = min(errors, key=lambda choice: errors[choice])
        errors |= dict([_attempt(data, best.objective, best.level, many, seed)])
        chosen[name] = min(errors, key=lambda choice: errors[choice])
        tried |= {str(choice): error for choice, error in errors.items()}
    return chosen, tried


def _attempt(data: BenchSet, objective: str, level: Level, leaves: int, seed: int) -> tuple[Choice, float]:
    """Return a setting with its number of trees, and its error on validation."""
    table = Table(data, level)
    train = _dataset(
        table, table.sample(data.origins.train_end, 0, TUNING_ROWS, np.random.default_rng(seed)), objective
    )
    first, last = data.origins.valid[0], data.origins.valid[-1] + data.horizon
    rng = np.random.default_rng(seed + 1)
    origins = np.array(data.origins.valid)
    if data.metric == "mse":
        series, at, steps = table.sample(last, first, CHECK_ROWS, rng)
    else:
        series, at, steps = all_steps(data, origins.tolist())
        keep = np.sort(rng.permutation(len(series))[: math.ceil(CHECK_ROWS / data.horizon)])
        series, at, steps = series[keep], at[keep], steps[keep]
    check = _dataset(table, (series, at, steps), objective, reference=train)
    booster = lgb.train(
        _parameters(objective, leaves, seed),
        train,
        TREES,
        valid_sets=[check],
        valid_names=["valid"],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    trees = booster.best_iteration or TREES
    built = table.rows(series, at, steps)
    output = _predict(booster, built.x, trees)
    actual = table.targets(series, at, steps, built)
    gap = (output - actual).astype(np.float64) * built.scale
    seen = np.isfinite(actual)
    if objective == "regression_l1":
        error = np.abs(gap[seen]).sum() / np.abs(actual * built.scale + built.offset)[seen].sum()
    elif data.metric == "mse":
        error = np.square(gap[seen]).mean()
    else:
        squares = np.where(seen, np.square(gap), 0).reshape(-1, data.horizon).sum(axis=1)
        count, scale = seen.reshape(-1, data.horizon).sum(axis=1), naive_scale(data, data.origins.train_end)[series]
        usable = (count > 0) & (scale > 0)
        error = np.sqrt(squares[usable] / count[usable] / scale[usable]).mean()
    return Choice(level, leaves, objective, trees), float(error)


def _final(data: BenchSet, choice: Choice, objectives: dict[str, dict[str, Any]], seed: int) -> dict[str, lgb.Booster]:
    """Fit boosters on everything up to `data.fit_end`, with the numbers of trees that validation gave."""
    table = Table(data, choice.level)
    pairs = table.sample(data.fit_end, 0, FINAL_ROWS, np.random.default_rng(seed))
    train = _dataset(table, pairs, choice.objective)
    return {
        name: lgb.train({**_parameters(choice.objective, choice.leaves, seed), **own}, train, choice.trees)
        for name, own in objectives.items()
    }


def _parameters(objective: str, leaves: int, seed: int) -> dict[str, Any]:
    return {**BASE, "objective": objective, "num_leaves": leaves, "seed": seed}


def _dataset(
    table: Table, pairs: tuple[Index, Index, Index], objective: str, reference: lgb.Dataset | None = None
) -> lgb.Dataset:
    rows = table.rows(*pairs)
    target = table.targets(*pairs, rows)
    seen = np.isfinite(target)
    weight = _weights(table, pairs, rows, objective)
    return lgb.Dataset(
        rows.x[seen],
        target[seen],
        weight=None if weight is None else weight[seen],
        reference=reference,
        feature_name=table.names,
        categorical_feature=table.categorical,
        free_raw_data=False,
    )


def _weights(table: Table, pairs: tuple[Index, Index, Index], rows: Rows, objective: str) -> Floats | None:
    """Return weights for errors of the scaled target: units in WAPE, their square over RMSSE's denominator."""
    if objective == "regression_l1":
        return rows.scale
    if table.data.metric == "mse":
        return None
    series, _, steps = pairs
    scale = np.repeat(naive_scale(table.data, table.data.origins.train_end)[series], steps.shape[1])
    weight = np.where(scale > 0, np.square(rows.scale.astype(np.float64)) / np.where(scale > 0, scale, 1), 0)
    # Around one: LightGBM's smallest sum of hessians in a leaf is absolute.
    relative: Floats = (weight / weight.mean()).astype(np.float32)
    return relative


def _predict(booster: lgb.Booster, x: Floats, trees: int) -> Floats:
    output: Floats = np.asarray(booster.predict(x, num_iteration=trees), np.float32)
    return output


def _forecast(
    tables: Mapping[Level, Table],
    chosen: Mapping[str, Choice],
    models: Mapping[str, lgb.Booster],
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
            choice = chosen["mean" if name == "mean" else "0.5"]
            rows = built[choice.level]
            output = _predict(model, rows.x, choice.trees) * rows.scale + rows.offset
            outputs[name][part] = output.reshape(-1, data.horizon)
    return {name: output.reshape(len(origins), -1, data.horizon) for name, output in outputs.items()}
