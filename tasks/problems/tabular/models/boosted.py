"""These teachers of labelled rows are gradient-boosted trees.

LightGBM (Ke et al. 2017) grows each leaf by leaf, CatBoost (Prokhorenkova et al. 2018, arXiv:1706.09516) by level.
"""

import logging
import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError, DataError
from tasks.problems.base import Dataset, FeatureContract, Rows
from tasks.problems.blocks.oblivious import ObliviousTrees
from tasks.problems.blocks.trees import Trees
from tasks.problems.tabular.models.network import value_of_log

log = logging.getLogger(__name__)

SMOOTHING = 20.0
CATBOOST = "1.2.10"
"""The package is not among those of the stages, which it would make larger by far, and few workloads name it."""


class BoostedOptions(Frozen):
    """`trees` are the most; learning stops after `stopping` of them without a better validation error.

    Each of a value's quantiles has `quantile_trees` at most, which learn at `quantile_rate`. Without them they are as
    the value's, though far more of them are kept: a quantile's gradient has two values alone.
    """

    trees: int = Field(default=1000, gt=0)
    learning_rate: float = Field(default=0.05, gt=0)
    stopping: int = Field(default=50, gt=0)
    quantile_trees: int | None = Field(default=None, gt=0)
    quantile_rate: float | None = Field(default=None, gt=0)

    def pace(self, level: float | None) -> tuple[int, float]:
        """Return the most trees and the learning rate, of the value, or of its quantile of this `level`."""
        if level is None:
            return self.trees, self.learning_rate
        return self.quantile_trees or self.trees, self.quantile_rate or self.learning_rate


class LightGbmOptions(BoostedOptions):
    """Each tree has so many `leaves`, each of `min_leaf` rows or more, and learns from shares of columns and rows."""

    leaves: int = Field(default=31, gt=1)
    min_leaf: int = Field(default=20, gt=0)
    feature_share: float = Field(default=0.8, gt=0, le=1)
    row_share: float = Field(default=0.8, gt=0, le=1)


class CatBoostOptions(BoostedOptions):
    """Each tree has `depth` levels with one split each; `leaf_penalty` is the L2 penalty of leaves."""

    depth: int = Field(default=6, gt=0, le=10)
    leaf_penalty: float = Field(default=3.0, ge=0)


@dataclass(frozen=True)
class Table:
    """Table has what trees learn from: features (rows, columns), labels and weights (rows,)."""

    features: NDArray[np.float32]
    label: NDArray[np.float64]
    weight: NDArray[np.float64] | None


@dataclass(frozen=True)
class Grown:
    """Grown are `count` trees (of each class, if there are several), and their loss on validation rows, if any."""

    trees: nn.Module
    count: int
    error: float = math.nan


class Boosted(nn.Module):
    """Boosted trees read numbers as they are, NaN where one is not known, and of a category the mean label of its rows.

    Means are of each class where there are several, drawn towards that of all rows as by `SMOOTHING` rows of it: trees
    then split a category's values in the order of the label, as LightGBM's own categorical splits do (Fisher 1958).
    A value's quantiles have trees of their own each, which learn by the pinball loss.
    """

    def __init__(self, options: BoostedOptions, contract: FeatureContract) -> None:
        super().__init__()
        settings = contract.settings["options"]
        for option in ("quantile_trees", "quantile_rate"):
            if getattr(options, option) is not None and not settings.get("quantiles"):
                raise ConfigError(f"model.{option}: there are no quantiles; leave it out, or set problem.quantiles")
        self.task, self.error = settings["task"], settings["metric"]
        self.quantiles: tuple[float, ...] = tuple(settings.get("quantiles", ()))
        self.classes = contract.output_shape[0]
        self.numbers = len(contract.settings["features"])
        sizes = [len(book) for book in contract.categories.values()]
        self.starts = [sum(sizes[:place]) for place in range(len(sizes))]
        self.means = nn.Parameter(
            torch.zeros(sum(sizes), self.classes if self.task == "classes" else 1), requires_grad=False
        )
        self.trees = nn.ModuleList()
        self.settled: list[float] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        features = self._features(*inputs)
        value, *quantiles = [trees(features) for trees in self.trees]
        raw: Tensor = torch.cat([value, *_rising(quantiles)], dim=1) if quantiles else value
        if self.task == "yes-no":
            return torch.cat([torch.zeros_like(raw), raw], dim=1)
        if self.error == "rmsle":
            return value_of_log(raw)
        return raw

    def _features(self, *inputs: Tensor) -> Tensor:
        parts = []
        if self.numbers:
            numeric, observed = inputs[:2]
            parts.append(torch.where(observed > 0, numeric, torch.full_like(numeric, torch.nan)))
        if self.starts:
            parts.append(self.means[inputs[-1] + torch.tensor(self.starts)].flatten(1))
        return torch.cat(parts, dim=1)

    def fit(self, dataset: Dataset, train: Rows, valid: Rows, *, seed: int) -> list[float]:
        """Learn from `train`, stop early on `valid`; return the validation loss of a value and of each quantile.

        Equal data, seed and number of threads (torch's) give equal trees.
        """
        learn = self._learned(dataset, train)
        check = Table(self._matrix(dataset, valid), *self._labels(dataset, valid))
        return self._grow_all(learn, [check] * (1 + len(self.quantiles)), seed)

    def fit_again(self, dataset: Dataset, train: Rows, settled: Sequence[float], *, seed: int) -> None:
        """Learn from `train` so many trees of the value and of each quantile."""
        self._grow_all(self._learned(dataset, train), map(int, settled), seed)

    def _learned(self, dataset: Dataset, rows: Rows) -> Table:
        label, weight = self._labels(dataset, rows)
        self._learn_means(dataset, rows, label, weight)
        return Table(self._matrix(dataset, rows), label, weight)

    def _grow_all(self, learn: Table, until: Iterable["Table | int"], seed: int) -> list[float]:
        grown = [self.grow(learn, end, seed, level) for level, end in zip((None, *self.quantiles), until, strict=True)]
        self.trees.extend(each.trees for each in grown)
        self.settled = [each.count for each in grown]
        return [each.error for each in grown]

    @abstractmethod
    def grow(self, train: Table, until: Table | int, seed: int, level: float | None = None) -> "Grown":
        """Return trees that map (n, columns) to raw scores of the label, or of its quantile of this `level`.

        `until`: rows to validate on, where growing stops early, or how many trees there are; then there is no error.
        """

    def _labels(self, dataset: Dataset, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        target = dataset.target(rows).astype(np.float64)
        label, weight = (target[:, 0], target[:, 1]) if target.ndim == 2 else (target, None)
        return (np.log1p(label) if self.error == "rmsle" else label), weight

    def _learn_means(
        self, dataset: Dataset, rows: Rows, label: NDArray[np.float64], weight: NDArray[np.float64] | None
    ) -> None:
        """Set the mean label of each code, rows counted by their weight; codes without a row get that of all."""
        if not self.starts:
            return
        codes = dataset.inputs(rows, ["codes"])["codes"] + np.array(self.starts)
        values = np.eye(self.classes)[label.astype(np.int64)] if self.task == "classes" else label[:, None]
        share = np.ones(len(rows)) if weight is None else weight / weight.mean()
        usual = np.average(values, axis=0, weights=share)
        count = len(self.means)
        seen = sum(np.bincount(column, share, count) for column in codes.T)
        with torch.no_grad():
            for place in range(values.shape[1]):
                total = sum(np.bincount(column, share * values[:, place], count) for column in codes.T)
                mean = (total + SMOOTHING * usual[place]) / (seen + SMOOTHING)
                self.means[:, place] = torch.from_numpy(mean.astype(np.float32))

    def _matrix(self, dataset: Dataset, rows: Rows) -> NDArray[np.float32]:
        with torch.no_grad():
            inputs = [torch.from_numpy(values) for values in dataset.inputs(rows).values()]
            matrix: NDArray[np.float32] = self._features(*inputs).numpy()
        return matrix


def _rising(quantiles: list[Tensor]) -> list[Tensor]:
    """Return quantiles (n, 1) of rising levels that do not cross: from the middle on, each is bound by the last."""
    found, middle = list(quantiles), len(quantiles) // 2
    for place in range(middle + 1, len(found)):
        found[place] = torch.maximum(found[place], found[place - 1])
    for place in range(middle - 1, -1, -1):
        found[place] = torch.minimum(found[place], found[place + 1])
    return found


class LightGbm(Boosted):
    """LightGbm grows each tree leaf by leaf."""

    def __init__(self, options: LightGbmOptions, contract: FeatureContract) -> None:
        super().__init__(options, contract)
        self.options = options

    def grow(self, train: Table, until: Table | int, seed: int, level: float | None = None) -> Grown:
        import lightgbm

        most, rate = self.options.pace(level)
        settings = self._settings(seed) | {"learning_rate": rate}
        if level is not None:
            settings |= {"objective": "quantile", "alpha": level}
        train_set = lightgbm.Dataset(train.features, train.label, weight=train.weight)
        if isinstance(until, int):
            return Grown(Trees(lightgbm.train(settings, train_set, until)), until)
        valid_set = train_set.create_valid(until.features, until.label, weight=until.weight)
        booster = lightgbm.train(
            settings,
            train_set,
            most,
            [valid_set],
            callbacks=[lightgbm.early_stopping(self.options.stopping, verbose=False)],
        )
        log.info("%d of %d trees are kept", booster.best_iteration, most)
        best = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
        error = float(next(iter(booster.best_score["valid_0"].values())))
        return Grown(Trees(best), booster.best_iteration, error)

    def _settings(self, seed: int) -> dict[str, Any]:
        options = self.options
        objective: dict[str, Any] = {"objective": "regression_l1" if self.error == "mae" else "regression"}
        if self.task == "yes-no":
            objective = {"objective": "binary"}
        elif self.task == "classes":
            objective = {"objective": "multiclass", "num_class": self.classes}
        return {
            **objective,
            "num_leaves": options.leaves,
            "min_data_in_leaf": options.min_leaf,
            "feature_fraction": options.feature_share,
            "bagging_fraction": options.row_share,
            "bagging_freq": 1,
            "seed": seed,
            "num_threads": torch.get_num_threads(),
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


class CatBoost(Boosted):
    """CatBoost grows trees whose levels have one split each, which is a strong penalty in itself.

    Raises ConfigError unless the package is installed as CATBOOST: a lock of stages does not name it, this file's does.
    """

    def __init__(self, options: CatBoostOptions, contract: FeatureContract) -> None:
        super().__init__(options, contract)
        self.options = options
        try:
            installed = version("catboost")
        except PackageNotFoundError:
            installed = "nothing"
        if installed != CATBOOST:
            way_out = f"pip install --no-deps catboost=={CATBOOST}, where stages run"
            raise ConfigError(f"model.kind: catboost {CATBOOST} is needed, {installed} is installed; {way_out}")

    def grow(self, train: Table, until: Table | int, seed: int, level: float | None = None) -> Grown:
        import catboost

        options, (most, rate) = self.options, self.options.pace(level)
        of_values = "MAE" if self.error == "mae" else "RMSE"
        loss = {"yes-no": "Logloss", "classes": "MultiClass"}.get(self.task, of_values)
        if level is not None:
            loss = f"Quantile:alpha={level}"
        stops = {"od_type": "Iter", "od_wait": options.stopping, "use_best_model": True}
        model = catboost.CatBoost(
            {
                "loss_function": loss,
                "iterations": until if isinstance(until, int) else most,
                "depth": options.depth,
                "learning_rate": rate,
                "l2_leaf_reg": options.leaf_penalty,
                "nan_mode": "Min",
                "random_seed": seed,
                "thread_count": torch.get_num_threads(),
                "allow_writing_files": False,
                "logging_level": "Silent",
            }
            | ({"classes_count": self.classes} if self.task == "classes" else {})
            | ({} if isinstance(until, int) else stops)
        )
        learn, check = (
            None if isinstance(part, int) else catboost.Pool(part.features, part.label, weight=part.weight)
            for part in (train, until)
        )
        try:
            model.fit(learn, eval_set=check)
        except catboost.CatBoostError as error:  # such as labels that are all the same
            raise DataError(f"rows: CatBoost learns nothing of them: {str(error).splitlines()[0]}") from error
        if check is None:
            return Grown(ObliviousTrees(model), model.tree_count_)
        log.info("%d of %d trees are kept", model.tree_count_, most)
        least = float(next(iter(model.get_best_score()["validation"].values())))
        return Grown(ObliviousTrees(model), model.tree_count_, least)
