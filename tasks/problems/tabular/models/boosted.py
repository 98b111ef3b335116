"""This teacher of labelled rows is gradient-boosted trees (LightGBM, Ke et al. 2017)."""

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tasks.core.config import Frozen
from tasks.problems.base import Dataset, FeatureContract, Rows
from tasks.problems.blocks.trees import Trees
from tasks.problems.tabular.models.network import value_of_log

log = logging.getLogger(__name__)

SMOOTHING = 20.0


class BoostedOptions(Frozen):
    """`trees` are the most; learning stops after `stopping` of them without a better validation error."""

    trees: int = Field(default=1000, gt=0)
    leaves: int = Field(default=31, gt=1)
    learning_rate: float = Field(default=0.05, gt=0)
    min_leaf: int = Field(default=20, gt=0)
    feature_share: float = Field(default=0.8, gt=0, le=1)
    row_share: float = Field(default=0.8, gt=0, le=1)
    stopping: int = Field(default=50, gt=0)


class Boosted(nn.Module):
    """Boosted trees read numbers as they are, NaN where one is not known, and of a category the mean label of its rows.

    Means are of each class where there are several, drawn towards that of all rows as by `SMOOTHING` rows of it: trees
    then split a category's values in the order of the label, as LightGBM's own categorical splits do (Fisher 1958).
    """

    def __init__(self, options: BoostedOptions, contract: FeatureContract) -> None:
        super().__init__()
        self.options = options
        settings = contract.settings["options"]
        self.task, self.error = settings["task"], settings["metric"]
        self.classes = contract.output_shape[0]
        self.numbers = len(contract.settings["features"])
        sizes = [len(book) for book in contract.categories.values()]
        self.starts = [sum(sizes[:place]) for place in range(len(sizes))]
        self.means = nn.Parameter(
            torch.zeros(sum(sizes), self.classes if self.task == "classes" else 1), requires_grad=False
        )
        self.trees = nn.ModuleList()

    def forward(self, *inputs: Tensor) -> Tensor:
        raw: Tensor = self.trees[0](self._features(*inputs))
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
        """Learn from `train`, stop early on `valid`; return the validation loss.

        Equal data, seed and number of threads (torch's) give equal trees.
        """
        import lightgbm

        label, weight = self._labels(dataset, train)
        self._learn_means(dataset, train, label, weight)
        train_set = lightgbm.Dataset(self._matrix(dataset, train), label, weight=weight)
        valid_label, valid_weight = self._labels(dataset, valid)
        valid_set = train_set.create_valid(self._matrix(dataset, valid), valid_label, weight=valid_weight)
        booster = lightgbm.train(
            self._settings(seed),
            train_set,
            self.options.trees,
            [valid_set],
            callbacks=[lightgbm.early_stopping(self.options.stopping, verbose=False)],
        )
        log.info("%d of %d trees are kept", booster.best_iteration, self.options.trees)
        best = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
        self.trees.append(Trees(best))
        return [float(next(iter(booster.best_score["valid_0"].values())))]

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
            "learning_rate": options.learning_rate,
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
