"""The tabular problem wires history, rows, metrics and losses to the interface that all stages know."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.problems.base import (
    SCORING_BYTES,
    Correction,
    Dataset,
    Example,
    FeatureContract,
    Floats,
    HardRows,
    Inputs,
    Outcomes,
    Predict,
    Problem,
    Rows,
    Score,
    Since,
    Strategies,
    rows_within,
)
from tasks.problems.blocks.classes import mean_logits, probabilities
from tasks.problems.blocks.temperature import Temperature, fit_temperature
from tasks.problems.tabular.afterwards import naive_chances, outcomes, with_chances
from tasks.problems.tabular.dataset import EVENTS, EntityRows, build_rows, load_rows, make_contract, model_inputs
from tasks.problems.tabular.disturbances import disturb
from tasks.problems.tabular.history import PREVIOUS, UNKNOWN, Origins, feature_names, features
from tasks.problems.tabular.metrics import score_classes, transitions
from tasks.problems.tabular.options import parse_options
from tasks.tables.table import Column, TableContract, Tables


class Tabular(Problem):
    """Tabular predicts the class of a column's sum over the next days, for each entity of a table of daily rows."""

    kind: ClassVar[str] = "tabular"
    refits: ClassVar[bool] = True
    corrections: ClassVar[type[Correction] | None] = Temperature

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = parse_options(options)

    @property
    def primary_metric(self) -> str:
        return "log_loss"

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.options.classes

    @property
    def segment_columns(self) -> tuple[str, ...]:
        return (PREVIOUS, *self.options.categories)

    def tables(self) -> tuple[TableContract, ...]:
        options = self.options
        parts = [Column(name, "number", low=0, about=f"part of {options.target}") for name in options.parts]
        columns = (
            Column(options.date, "date", key=True, about="day"),
            Column(options.entity, "string", key=True, about="who: one row per day on which something happened"),
            Column(options.target, "number", low=0, about="what the classes are about, summed over days"),
            *[Column(name, "number", low=0, about="amount of the day") for name in options.amounts],
            *parts,
            *[Column(name, "string", nullable=True, about="category; null is unknown") for name in options.categories],
        )
        return (TableContract(columns, options.date, options.target, (options.entity,), name=EVENTS),)

    def draft_contract(self) -> FeatureContract:
        width = len(feature_names(self.options))
        statistics = {"edges": list(self.options.edges or ()), "log_mean": [0.0] * width, "log_scale": [1.0] * width}
        return make_contract(self.options, dict.fromkeys(self.options.categories, (UNKNOWN,)), statistics)

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return build_rows(tables[EVENTS], as_of, self.options)

    def load(self, folder: Path) -> Dataset:
        return load_rows(folder)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        from tasks.problems.blocks.class_losses import cross_entropy

        return cross_entropy

    def strategies(self) -> Strategies:
        from tasks.problems.blocks.class_losses import SOFT

        return Strategies(SOFT)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Return log shares of the classes that followed the entity's previous class, counted on the training split."""
        assert isinstance(dataset, EntityRows)
        train = dataset.splits["train"]
        table = transitions(dataset.previous[train], dataset.target(train), len(self.options.classes))
        return table[dataset.previous[rows]]

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        return score_classes(output, target)

    @property
    def calibrated_by(self) -> tuple[str, ...]:
        return ("calibration_error",)

    def correction(self, dataset: Dataset, rows: Rows, output: Floats) -> Correction | None:
        return fit_temperature(output, dataset.target(rows)) if self.options.calibrate else None

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Return logits of the mean probabilities."""
        return mean_logits(list(outputs), weights)

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        summed = {f"{name}_{window}" for name in self.options.sums for window in self.options.windows}
        amounts = [place for place, name in enumerate(feature_names(self.options)) if name in summed]
        return disturb(kind, level, inputs, seed, np.array(amounts))

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Return columns: the entity, p_<class> of each class, and `predicted`, the likeliest class.

        One row for each entity with a row up to `as_of`; a category that training did not see counts as unknown.
        Raises DataError when there is none.
        """
        options = parse_options(contract.settings["options"])
        rows = features(tables[EVENTS].filter(pl.col(options.date) <= as_of), Origins(as_of), options).collect(
            engine="streaming"
        )
        if rows.is_empty():
            raise DataError(f"{EVENTS}: no rows up to {as_of}")
        size = rows_within(contract.row_bytes(), SCORING_BYTES)
        chances = probabilities(
            np.concatenate([model(model_inputs(part, contract)) for part in rows.iter_slices(size)])
        )
        return with_chances(rows.select(options.entity), chances, options)

    def last_day(self, as_of: date) -> date:
        return as_of + timedelta(days=self.options.horizon_days)

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        return naive_chances(since, self.options, tuple(contract.statistics["edges"]))

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        return outcomes(predictions, since, self.options, tuple(contract.statistics["edges"]))

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Compare predicted and actual class shares: over all rows, then by previous class (is it calibrated?)."""
        assert isinstance(dataset, EntityRows)
        previous, target = dataset.previous[rows], dataset.target(rows)
        classes = self.options.classes
        groups = {"all": np.ones(len(rows), dtype=bool)}
        groups |= {
            f"{name} in the {self.options.horizon_days} days before": previous == at for at, name in enumerate(classes)
        }

        def shares(values: NDArray[np.float64]) -> tuple[float, ...]:
            return tuple(round(float(value), 4) for value in values.mean(axis=0))

        return [
            Example(
                title=f"{title} ({mask.sum()} rows)",
                dates=classes,
                past=(),
                actual=shares(np.eye(len(classes))[target[mask]]),
                curves={name: shares(probabilities(output[mask])) for name, output in outputs.items()},
            )
            for title, mask in groups.items()
            if mask.any()
        ][:count]
