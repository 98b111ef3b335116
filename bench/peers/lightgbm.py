"""This peer is LightGBM (Ke et al. 2017), tuned as `boosting` does, with at most 300 trees of 31 or 127 leaves."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

from bench.peers import boosting
from bench.peers.base import Result
from bench.peers.boosting import QUANTILE, Learned
from bench.sets import BenchSet, Floats

TREES, PATIENCE = 300, 30
LEAVES = (31, 127)
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


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """See `boosting.fit_predict`."""
    return boosting.fit_predict(data, seed, LightGBM(LEAVES, TREES), chosen)


@dataclass(frozen=True)
class Booster:
    """See boosting.Model."""

    booster: lgb.Booster
    trees: int

    def predict(self, x: Floats, trees: int) -> Floats:
        return np.asarray(self.booster.predict(x, num_iteration=trees), np.float32)

    def parameters(self) -> int:
        """Count leaf values and split thresholds of all trees."""
        return sum(2 * tree["num_leaves"] - 1 for tree in self.booster.dump_model()["tree_info"])

    def size(self) -> int:
        return len(self.booster.model_to_string())


@dataclass(frozen=True)
class LightGBM:
    """See boosting.Library; the size of a tree is its number of leaves."""

    sizes: tuple[int, int]
    most: int

    def prepare(self, rows: Learned, like: lgb.Dataset | None = None) -> lgb.Dataset:
        return lgb.Dataset(
            rows.x,
            rows.target,
            weight=rows.weight,
            reference=like,
            feature_name=list(rows.names),
            categorical_feature=list(rows.categorical),
            free_raw_data=False,
        )

    def fit(
        self, rows: lgb.Dataset, objective: str, size: int, trees: int, seed: int, check: lgb.Dataset | None = None
    ) -> Booster:
        options = {**BASE, "objective": objective, "num_leaves": size, "seed": seed}
        if objective.startswith(QUANTILE):
            options |= {"objective": "quantile", "alpha": float(objective.removeprefix(QUANTILE))}
        if check is None:
            return Booster(lgb.train(options, rows, trees), trees)
        stop = lgb.early_stopping(PATIENCE, verbose=False)
        booster = lgb.train(options, rows, trees, valid_sets=[check], valid_names=["valid"], callbacks=[stop])
        return Booster(booster, booster.best_iteration or trees)
