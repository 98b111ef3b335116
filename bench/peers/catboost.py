"""This peer is CatBoost (Prokhorenkova et al. 2018, arXiv:1706.09516), tuned as `boosting` does.

At most 500 trees, symmetric ones, of depth 6 or 8. Codes are categories to it, by ordered target statistics.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import catboost as cb
import numpy as np

from bench.peers import boosting
from bench.peers.base import Result
from bench.peers.boosting import QUANTILE, Learned
from bench.sets import BenchSet, Floats

TREES, PATIENCE = 500, 30
DEPTHS = (6, 8)
BASE: dict[str, Any] = {
    "learning_rate": 0.1,
    "bootstrap_type": "Bernoulli",  # its default weighs rows by their gradient, of which absolute errors have one size
    "subsample": 0.8,
    "thread_count": len(os.sched_getaffinity(0)),
    "allow_writing_files": False,
    "verbose": False,
}
LOSSES = {"regression_l1": "MAE", "regression": "RMSE", "tweedie": "Tweedie:variance_power=1.5"}


def fit_predict(data: BenchSet, seed: int, chosen: Mapping[str, Any] | None = None) -> Result:
    """See `boosting.fit_predict`."""
    return boosting.fit_predict(data, seed, CatBoost(DEPTHS, TREES), chosen)


@dataclass(frozen=True)
class Booster:
    """See boosting.Model; `codes`: how many of the last columns are categories."""

    model: cb.CatBoost
    trees: int
    codes: int
    kind: str

    def predict(self, x: Floats, trees: int) -> Floats:
        output = self.model.predict(_features(x, self.codes), prediction_type=self.kind, ntree_end=trees)
        return np.asarray(output, np.float32)

    def parameters(self) -> int:
        """Count leaf values, and the one split of each level of a tree."""
        leaves = self.model.get_tree_leaf_counts()
        return int(sum(leaves) + sum(np.log2(leaves)))

    def size(self) -> int:
        with TemporaryDirectory() as folder:
            file = Path(folder, "model.cbm")
            self.model.save_model(str(file))
            return file.stat().st_size


@dataclass(frozen=True)
class CatBoost:
    """See boosting.Library; the size of a tree is its depth."""

    sizes: tuple[int, int]
    most: int

    def prepare(self, rows: Learned, like: cb.Pool | None = None) -> cb.Pool:
        del like
        features = _features(rows.x, len(rows.categorical))
        return cb.Pool(features, label=rows.target, weight=rows.weight)

    def fit(
        self, rows: cb.Pool, objective: str, size: int, trees: int, seed: int, check: cb.Pool | None = None
    ) -> Booster:
        loss = LOSSES.get(objective) or f"Quantile:alpha={objective.removeprefix(QUANTILE)}"
        model = cb.CatBoost({**BASE, "loss_function": loss, "depth": size, "iterations": trees, "random_seed": seed})
        stop = {} if check is None else {"eval_set": check, "early_stopping_rounds": PATIENCE}
        model.fit(rows, **stop)
        kind = "Exponent" if objective == "tweedie" else "RawFormulaVal"
        return Booster(model, int(model.tree_count_), len(rows.get_cat_feature_indices()), kind)


def _features(x: Floats, codes: int) -> cb.FeaturesData:
    """Return numbers and, as bytes, the codes in the last columns."""
    numbers = np.ascontiguousarray(x[:, : x.shape[1] - codes])
    if not codes:
        return cb.FeaturesData(num_feature_data=numbers)
    texts = x[:, -codes:].astype(np.int64).astype("S").astype(object)
    return cb.FeaturesData(num_feature_data=numbers, cat_feature_data=texts)
