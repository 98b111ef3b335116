"""The vision problem wires images, metrics and losses to the interface that all stages know."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract.images import Unreadable
from tasks.core.errors import DataError, RuleError
from tasks.problems.base import (
    Correction,
    Dataset,
    Example,
    FeatureContract,
    Finding,
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
from tasks.problems.vision.afterwards import outcomes
from tasks.problems.vision.checks import findings
from tasks.problems.vision.dataset import LabelledImages, build_images, load_images, make_contract
from tasks.problems.vision.disturbances import disturb
from tasks.problems.vision.files import LABELS, PLACE, known, without_unreadable
from tasks.problems.vision.metrics import naive_output, score_images
from tasks.problems.vision.options import CLASS, IMAGE, Options, parse_options
from tasks.problems.vision.pictures import of_images
from tasks.tables.table import Column, TableContract, Tables

ROW = "row"


class Vision(Problem):
    """Vision tells the class of an image."""

    kind: ClassVar[str] = "vision"
    refits: ClassVar[bool] = True
    corrections: ClassVar[type[Correction] | None] = Temperature

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = parse_options(options)

    @property
    def primary_metric(self) -> str:
        return self.options.metric

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.options.classes

    @property
    def segment_columns(self) -> tuple[str, ...]:
        return (CLASS, *self.options.by)

    def tables(self) -> tuple[TableContract, ...]:
        return (table_contract(self.options),)

    def findings(self, tables: Tables, as_of: date) -> Iterable[Finding]:
        return findings(tables, self.options, as_of)

    def draft_contract(self) -> FeatureContract:
        channels, count = self.options.channels, len(self.options.classes)
        return make_contract(self.options, [0.0] * channels, [1.0] * channels, [1 / count] * count)

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return build_images(known(tables[LABELS], self.options, as_of), self.options)

    def load(self, folder: Path) -> Dataset:
        return load_images(folder)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        """Return the cross-entropy, of either error: the share of mistakes has no slope."""
        from tasks.problems.blocks.class_losses import cross_entropy, smoothed

        return smoothed(self.options.smoothing) if self.options.smoothing else cross_entropy

    def strategies(self) -> Strategies:
        from tasks.problems.blocks.class_losses import SOFT
        from tasks.problems.vision.augment import AUGMENT

        return Strategies(SOFT, augment=AUGMENT)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Return log shares of the classes in training."""
        return naive_output(dataset.contract, len(rows))

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        return score_images(output, target, self.options.metric)

    @property
    def calibrated_by(self) -> tuple[str, ...]:
        return ("calibration_error",)

    def correction(self, dataset: Dataset, rows: Rows, output: Floats) -> Correction | None:
        return fit_temperature(output, dataset.target(rows)) if self.options.calibrate else None

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Return logits of the mean chances."""
        return mean_logits(list(outputs), weights)

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        return disturb(kind, level, inputs, seed)

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Return a line for each row up to `as_of`: its id, or else `row`, its place from 0; then what is predicted.

        p_<class> of each class, and `predicted`, the likeliest. Rows whose image is null are left out. Raises DataError
        when there is no row, RuleError naming the first whose file cannot be read.
        """
        options = parse_options(contract.settings["options"])
        rows = _rows(tables, options, as_of, options.image)
        size = rows_within(contract.row_bytes())
        output = np.concatenate([model({IMAGE: _encoded(part, options)}) for part in rows.iter_slices(size)])
        return _told(rows, output, options)

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        """Return the shares of the classes for every row, also of one whose file cannot be read."""
        options = parse_options(contract.settings["options"])
        rows = _rows(since.now, options, since.as_of)
        return _told(rows, naive_output(contract, len(rows)), options)

    def spared(self, tables: dict[str, pl.DataFrame], contract: FeatureContract) -> dict[str, pl.DataFrame]:
        """Return the tables with null in place of the files that cannot be read, within `max_unreadable`."""
        options = parse_options(contract.settings["options"])
        if not options.max_unreadable:
            return tables
        return {**tables, LABELS: without_unreadable(tables[LABELS], options)}

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        """Score predictions of images whose label has come since."""
        return outcomes(predictions, since, self.options)

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Show which classes are taken for which, the worst mistakes with their images, and calibration."""
        assert isinstance(dataset, LabelledImages)
        return of_images(dataset, rows, outputs)[:count]


def _rows(tables: Tables, options: Options, as_of: date, *columns: str) -> pl.DataFrame:
    """Return the place, the id and `columns` of the rows up to `as_of` that have an image. Raises DataError."""
    table = known(tables[LABELS], options, as_of).filter(pl.col(options.image).is_not_null())
    names = [options.id] if options.id else []
    found = table.select(pl.col(PLACE).cast(pl.Int64), *names, *columns).collect(engine="streaming")
    if found.is_empty():
        raise DataError(f"{LABELS}: no rows up to {as_of}")
    return found


def _told(rows: pl.DataFrame, output: Floats, options: Options) -> pl.DataFrame:
    return rows.select(options.id or pl.col(PLACE).alias(ROW)).with_columns(
        predicted_columns(probabilities(output), options.classes)
    )


def _encoded(rows: pl.DataFrame, options: Options) -> NDArray[np.uint8]:
    """Return the images of some rows. Raises RuleError naming the first row whose file cannot be read."""
    images = np.empty((len(rows), *options.field.shape), np.uint8)
    for number, (place, content) in enumerate(rows.select(PLACE, options.image).iter_rows()):
        try:
            images[number] = options.field.read(content)
        except Unreadable as error:
            said = f"{options.image}: file {place} is {error}"
            raise RuleError(said, options.image, "JPEG or PNG file", place) from None
    return images


def table_contract(options: Options) -> TableContract:
    """Return the contract of the one table. What no prediction needs may be missing: label, time and segments."""
    columns = [
        Column(options.label, "string", required=False, nullable=True, about="label"),
        Column(options.image, "binary", about="JPEG or PNG file"),
        *[Column(name, "string", required=False, nullable=True, about="segment") for name in options.by],
    ]
    if options.id:
        columns.append(Column(options.id, "string", key=True, about="id of a row"))
    if options.time:
        columns.append(Column(options.time, "date", required=False, about="day"))
    if options.group and options.group not in options.by:
        columns.append(Column(options.group, "string", required=False, nullable=True, about="group"))
    return TableContract(tuple(columns), options.time, None, (options.id,) if options.id else (), name=LABELS)
