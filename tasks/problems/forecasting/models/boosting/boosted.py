"""This teacher is gradient-boosted trees, one ensemble an output, direct for all steps ahead."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from tasks.problems.base import Dataset, FeatureContract, Rows
from tasks.problems.blocks.trees import Trees
from tasks.problems.forecasting.models.boosting.features import FeatureOptions, WindowFeatures
from tasks.problems.forecasting.models.layout import Layout

if TYPE_CHECKING:
    from lightgbm.callback import CallbackEnv

log = logging.getLogger(__name__)

BATCH = 2048
TREES_A_LINE = 20
"""The log has a line after so many trees."""


class BoostedOptions(FeatureOptions):
    """Learning samples at most `samples` (row, step) pairs. `stopping`: trees without a better validation.

    `leaves` of a tree: of several numbers the one counts whose trees forecast validation rows best.
    """

    trees: int = Field(default=300, gt=0)
    leaves: tuple[Annotated[int, Field(gt=1)], ...] = Field(default=(63,), min_length=1)
    learning_rate: float = Field(default=0.05, gt=0)
    min_leaf: int = Field(default=50, gt=0)
    feature_share: float = Field(default=0.7, gt=0, le=1)
    samples: int = Field(default=400_000, gt=0)
    stopping: int = Field(default=30, gt=0)

    @field_validator("leaves", mode="before")
    @classmethod
    def _one_size(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value


class Boosted(nn.Module):
    """Boosted trees read `WindowFeatures`; targets are in multiples of the window's scale (LightGBM, Ke et al. 2017).

    Quantiles are learned with the pinball loss, the expected value with squared errors of the scaled target. One output
    under a squared metric is an expected value. Rows weigh by their scale s, so that quantiles' errors count in units,
    and squared ones as (y - f)^2 / s: as in the networks' loss, and windows of almost nothing do not drown all others.
    """

    def __init__(self, options: BoostedOptions, contract: FeatureContract) -> None:
        super().__init__()
        layout = Layout.of(contract)
        self.options, self.layout = options, layout
        self.squared = contract.settings["options"].get("metric", "wape") == "mse"
        self.inputs = WindowFeatures(contract, options)
        self.uses = self.inputs.uses
        self.trees = nn.ModuleList()
        self.leaves = options.leaves[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        centre, scale = self.inputs.norm(*inputs[:2])
        lines = self.inputs(*inputs).reshape(-1, self.inputs.width)
        values = [trees(lines) for trees in self.trees]
        median, count = self.layout.median, len(self.layout.quantiles)
        for place in range(median - 1, -1, -1):  # ensembles that know nothing of each other can cross
            values[place] = torch.minimum(values[place], values[place + 1])
        for place in range(median + 1, count):
            values[place] = torch.maximum(values[place], values[place - 1])
        raw = torch.cat(values, dim=1).reshape(-1, self.layout.horizon, self.layout.outputs)
        units = raw * scale.unsqueeze(2) + centre.unsqueeze(2)
        return functional.relu(units) if self.layout.positive else units

    def fit(self, dataset: Dataset, train: Rows, valid: Rows, *, seed: int) -> list[float]:
        """Learn from `train`, stop early on `valid`; return the validation loss of each output.

        Equal data, seed and number of threads (torch's) give equal trees. Those of the median choose the size of all.
        """
        import lightgbm

        began = time.monotonic()
        learn, check = (self._lines(dataset, rows, seed + place) for place, rows in enumerate((train, valid)))
        size = f"{len(learn[0]):,} steps of training rows, {learn[0].shape[1]} features"
        log.info("%s, gathered in %.0f s", size, time.monotonic() - began)

        def grown(place: int, leaves: int) -> tuple[Trees, float]:
            train_set = lightgbm.Dataset(learn[0], learn[1], weight=learn[2])
            booster = lightgbm.train(
                self._settings(place, leaves, seed),
                train_set,
                self.options.trees,
                [train_set.create_valid(check[0], check[1], weight=check[2])],
                callbacks=[lightgbm.early_stopping(self.options.stopping, verbose=False), self._progress(place)],
            )
            best = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
            return Trees(best), float(next(iter(booster.best_score["valid_0"].values())))

        first = self.layout.median
        tried = {leaves: grown(first, leaves) for leaves in self.options.leaves} if len(self.options.leaves) > 1 else {}
        if tried:
            self.leaves = min(tried, key=lambda leaves: tried[leaves][1])
            losses = ", ".join(f"{leaves} {loss:.4f}" for leaves, (_, loss) in tried.items())
            log.info("leaves and validation loss: %s; %d it is", losses, self.leaves)
        places = range(self.layout.outputs)
        found = [tried[self.leaves] if tried and place == first else grown(place, self.leaves) for place in places]
        self.trees.extend(trees for trees, _ in found)
        return [loss for _, loss in found]

    @property
    def settled(self) -> list[float]:
        """Return the leaves of a tree, then the trees of each output."""
        return [self.leaves, *(trees.booster.num_trees() for trees in self.trees if isinstance(trees, Trees))]

    def fit_again(self, dataset: Dataset, train: Rows, settled: Sequence[float], *, seed: int) -> None:
        """Learn so many trees of each output from `train`."""
        import lightgbm

        learn = self._lines(dataset, train, seed)
        self.leaves = int(settled[0])
        for place, count in enumerate(settled[1:]):
            settings = self._settings(place, self.leaves, seed)
            train_set = lightgbm.Dataset(learn[0], learn[1], weight=learn[2])
            self.trees.append(Trees(lightgbm.train(settings, train_set, int(count))))

    def _progress(self, place: int) -> "Callable[[CallbackEnv], None]":
        """Return a callback that logs how far an output's trees are: a line every `TREES_A_LINE` of them."""
        began, output = time.monotonic(), f"output {place + 1}/{self.layout.outputs}"

        def say(state: "CallbackEnv") -> None:
            trees, results = state.iteration + 1, state.evaluation_result_list
            if trees % TREES_A_LINE == 0 and results:
                seconds = time.monotonic() - began
                log.info(
                    "%s: tree %d of %d, loss %.4f, %.0f s", output, trees, self.options.trees, results[0][2], seconds
                )

        return say

    def _objective(self, place: int) -> dict[str, Any]:
        """Return LightGBM's objective of an output."""
        if self.squared or place >= len(self.layout.quantiles):
            return {"objective": "regression"}
        return {"objective": "quantile", "alpha": self.layout.quantiles[place]}

    def _settings(self, place: int, leaves: int, seed: int) -> dict[str, Any]:
        options = self.options
        return {
            **self._objective(place),
            "num_leaves": leaves,
            "learning_rate": options.learning_rate,
            "min_data_in_leaf": options.min_leaf,
            "feature_fraction": options.feature_share,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "seed": seed,
            "num_threads": torch.get_num_threads(),
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def _lines(self, dataset: Dataset, rows: Rows, seed: int) -> tuple[NDArray[np.float32], ...]:
        """Return features, scaled targets and scales of a sample of (row, step) pairs that were observed."""
        generator, horizon = np.random.default_rng(seed), self.layout.horizon
        count = min(len(rows), max(1, self.options.samples // min(horizon, 7)))
        each = min(horizon, max(1, self.options.samples // count))
        chosen = np.sort(generator.permutation(rows)[:count])
        features, targets, scales = [], [], []
        for part in dataset.parts(chosen, self.uses, most=BATCH):
            inputs = tuple(torch.from_numpy(values) for values in dataset.inputs(part, self.uses).values())
            with torch.no_grad():
                lines = self.inputs(*inputs).numpy()
                centre, scale = (values.numpy() for values in self.inputs.norm(*inputs[:2]))
            steps = np.argsort(generator.random((len(part), horizon)), axis=1)[:, :each]
            row = np.arange(len(part))[:, None]
            features.append(lines[row, steps].reshape(-1, lines.shape[2]))
            targets.append(((dataset.target(part) - centre) / scale)[row, steps].ravel())
            scales.append(np.repeat(scale[:, 0], each))
        found = tuple(np.concatenate(parts) for parts in (features, targets, scales))
        seen = np.isfinite(found[1])
        return found if seen.all() else tuple(values[seen] for values in found)


def build_boosted(options: dict[str, Any], contract: FeatureContract) -> nn.Module:
    """Build unfitted trees from unvalidated options."""
    return Boosted(BoostedOptions.model_validate(options), contract)
