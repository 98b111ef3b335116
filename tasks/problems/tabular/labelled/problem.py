"""Labelled rows: options, columns, splits, errors and losses, wired to the interface that all stages know."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
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
from tasks.problems.blocks.classes import mean_logits, predicted_columns, probabilities
from tasks.problems.blocks.temperature import Temperature, fit_temperature
from tasks.problems.tabular.labelled.afterwards import Constant, outcomes
from tasks.problems.tabular.labelled.columns import draft_contract, model_inputs
from tasks.problems.tabular.labelled.dataset import PLACE, ROWS, LabelledRows, build_rows, load_rows
from tasks.problems.tabular.labelled.disturbances import disturb
from tasks.problems.tabular.labelled.metrics import by_last, changes, naive_output, parts, score_classes, score_values
from tasks.problems.tabular.labelled.options import Options, parse_options
from tasks.problems.tabular.labelled.pictures import of_classes, of_quantiles, of_values
from tasks.problems.tabular.labelled.synthesis import SYNTHESIS
from tasks.problems.tabular.metrics import transitions
from tasks.tables.table import Column, TableContract, Tables

ROW = "row"


class LabelledTabular(Problem):
    """LabelledTabular predicts one column of a table, a value or a class, from the others of its row."""

    kind: ClassVar[str] = "tabular"
    refits: ClassVar[bool] = True
    corrections: ClassVar[type[Correction] | None] = Temperature

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = parse_options(options)
        self.options = given.model_copy(update={"metric": given.error})

    @property
    def primary_metric(self) -> str:
        return self.options.error

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.options.labels or (self.options.target, *self.options.bands)

    @property
    def segment_columns(self) -> tuple[str, ...]:
        return (*self.options.categories, *self.options.booleans)

    def tables(self) -> tuple[TableContract, ...]:
        return (table_contract(self.options),)

    def draft_contract(self) -> FeatureContract:
        return draft_contract(self.options)

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return build_rows(_known(tables[ROWS], self.options, as_of), self.options)

    def load(self, folder: Path) -> Dataset:
        return load_rows(folder)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        from tasks.problems.tabular.labelled.losses import hard_loss

        return hard_loss(contract)

    def strategies(self) -> Strategies:
        from tasks.problems.tabular.labelled.losses import OF_CLASSES, OF_QUANTILES, OF_VALUES

        if self.options.labels:
            return Strategies(OF_CLASSES, augment=SYNTHESIS)
        first = "absolute" if self.options.error == "mae" else "squared"
        offered = OF_QUANTILES if self.options.quantiles else OF_VALUES
        return Strategies({first: offered[first], **offered}, augment=SYNTHESIS)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Return the last known label of the row's group, where rows have a time and a group; else a constant.

        Of classes it is what followed that label in training; quantiles are as far from it as those of what followed.
        """
        assert isinstance(dataset, LabelledRows)
        constant = naive_output(dataset.contract, self.options, len(rows))
        if dataset.last is None:
            return constant
        train = dataset.splits["train"]
        train = train[np.isfinite(dataset.last[train])]
        (label, weight), last = parts(dataset.target(train)), dataset.last[train]
        followed = None
        if self.options.labels:
            followed = transitions(last.astype(np.int64), label.astype(np.int64), self.options.width)
        elif self.options.quantiles:
            followed = changes(label - last, weight, self.options.quantiles)
        return by_last(constant, dataset.last[rows], followed)

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        if self.options.labels:
            return score_classes(output, target, self.options.error)
        return score_values(output, target, self.options.error, self.options.quantiles)

    @property
    def calibrated_by(self) -> tuple[str, ...]:
        if self.options.labels:
            return ("calibration_error",)
        return ("coverage", "pinball") if self.options.quantiles else ()

    def correction(self, dataset: Dataset, rows: Rows, output: Floats) -> Correction | None:
        if not self.options.calibrate:
            return None
        label, weight = parts(dataset.target(rows))
        return fit_temperature(output, label.astype(np.int64), weight)

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Return logits of the mean chances, or mean values."""
        if self.options.labels:
            return mean_logits(list(outputs), weights)
        return np.average(list(outputs), axis=0, weights=weights).astype(np.float32)

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        return disturb(kind, level, inputs, seed, len(self.options.numbers))

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Return a line for each row up to `as_of`: its id, or else `row`, its place from 0; then what is predicted.

        A value is `predicted`, and p10 or the like its quantiles; of classes there are p_<class> of each and
        `predicted`, the likeliest. The table's own target is not read. Raises DataError when there is no row.
        """
        options = parse_options(contract.settings["options"])
        rows = _known(tables[ROWS], options, as_of)
        if rows.is_empty():
            raise DataError(f"{ROWS}: no rows up to {as_of}")
        size = rows_within(contract.row_bytes(), SCORING_BYTES)
        output = np.concatenate([model(model_inputs(part, options, contract)) for part in rows.iter_slices(size)])
        found = rows.select(options.id or pl.col(PLACE).cast(pl.Int64).alias(ROW))
        if not options.labels:
            names = ("predicted", *options.bands)
            return found.with_columns(pl.Series(name, output[:, place]) for place, name in enumerate(names))
        return found.with_columns(predicted_columns(probabilities(output), options.labels))

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        return self.predict(since.now, since.as_of, contract, Constant(contract, self.options))

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        """Score predictions of rows whose label has come since.

        Their baseline is one answer for all. Where the gates' is the last label of a group, no share of it is known.
        """
        found = outcomes(predictions, since, self.options)
        return replace(found, as_gated=not (self.options.time and self.options.group))

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Show whether predictions are what came of them: by tenths of the first model's, and its residuals."""
        label, _ = parts(dataset.target(rows))
        if self.options.labels:
            return of_classes(label, outputs, self.options.labels)[:count]
        found = of_values(label, outputs)
        if self.options.quantiles:
            found.insert(0, of_quantiles(label, outputs, self.options.quantiles))
        return found[:count]


def _known(table: pl.LazyFrame, options: Options, as_of: date) -> pl.DataFrame:
    """Return the rows up to `as_of`, with PLACE; all of them where rows have no time."""
    table = table.with_row_index(PLACE)
    if options.time:
        table = table.filter(pl.col(options.time).cast(pl.Date) <= as_of)
    return table.collect(engine="streaming")


def table_contract(options: Options) -> TableContract:
    """Return the contract of the one table. Target and weight may be missing: rows to be predicted have none."""
    kind = {"value": "number", "classes": "string", "yes-no": "string" if options.positive is not None else "boolean"}
    columns = [
        Column(options.target, kind[options.task], False, True, low=options.low, high=options.high, about="label"),  # type: ignore[arg-type]
        *[Column(name, "number", nullable=True, about="number") for name in options.numbers],
        *[Column(name, "boolean", nullable=True, about="true or false") for name in options.booleans],
        *[
            Column(name, "date", nullable=name != options.time, about="day")
            for name in dict.fromkeys((*options.dates, *([options.time] if options.time else [])))
        ],
        *[Column(name, "string", nullable=True, about="category") for name in options.categories],
        *[Column(name, "string", key=True, about="id of a row") for name in options.id],
    ]
    if options.group and options.group not in (*options.categories, *options.id):
        columns.append(Column(options.group, "string", required=False, nullable=True, about="group"))
    if options.weight:
        columns.append(Column(options.weight, "number", False, True, above=0, about="weight"))
    target = options.target if options.task == "value" and not options.time else None
    return TableContract(tuple(columns), options.time, target, options.id, name=ROWS)
