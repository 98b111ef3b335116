"""The text problem wires texts, their tokens, errors and losses to the interface that all stages know."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract import InputError
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
from tasks.problems.text.afterwards import Constant, outcomes
from tasks.problems.text.checks import findings
from tasks.problems.text.dataset import BY_LABEL, PLACE, ROWS, Texts, build_texts, load_texts, make_contract
from tasks.problems.text.disturbances import OF_TEXTS, disturb_texts, disturb_tokens
from tasks.problems.text.metrics import naive_output, score_labels
from tasks.problems.text.options import Options, parse_options
from tasks.problems.text.pictures import pictures
from tasks.problems.text.unlabelled import SYNTHESIS
from tasks.tables.table import Column, TableContract, Tables

ROW = "row"


class Text(Problem):
    """Text tells the label of a text."""

    kind: ClassVar[str] = "text"
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
        return (BY_LABEL, *self.options.segments)

    def tables(self) -> tuple[TableContract, ...]:
        return (table_contract(self.options),)

    def findings(self, tables: Tables, as_of: date) -> Iterable[Finding]:
        return findings(_known(tables[ROWS], self.options, as_of), self.options)

    def draft_contract(self) -> FeatureContract:
        count = len(self.options.classes)
        return make_contract(self.options, [1 / count] * count)

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return build_texts(_known(tables[ROWS], self.options, as_of), self.options)

    def load(self, folder: Path) -> Dataset:
        return load_texts(folder)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        from tasks.problems.blocks.class_losses import cross_entropy

        return cross_entropy

    def strategies(self) -> Strategies:
        from tasks.problems.blocks.class_losses import SOFT

        return Strategies(SOFT, augment=SYNTHESIS)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Return the shares of the classes in training."""
        return naive_output(dataset.contract, len(rows))

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        options = self.options
        return score_labels(output, target, None if options.other is None else options.classes.index(options.other))

    @property
    def calibrated_by(self) -> tuple[str, ...]:
        return ("calibration_error",)

    def correction(self, dataset: Dataset, rows: Rows, output: Floats) -> Correction | None:
        return fit_temperature(output, dataset.target(rows)) if self.options.calibrate else None

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Return logits of the mean chances."""
        return mean_logits(list(outputs), weights)

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        return disturb_tokens(kind, level, inputs, seed, self.options.buckets)

    def disturbed(self, dataset: Dataset, rows: Rows, kind: str, level: float, seed: int) -> Inputs:
        """Return tokens of disturbed texts: what a typo makes of them only the text tells."""
        if kind not in OF_TEXTS:
            return super().disturbed(dataset, rows, kind, level, seed)
        assert isinstance(dataset, Texts)
        texts = disturb_texts(kind, level, [dataset.texts[row] for row in rows], seed)
        cut = [text[: dataset.options.longest] for text in texts]
        return {name: field.encode(cut) for name, field in dataset.contract.tokens.items()}

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Return a line for each row up to `as_of`: its id, or else `row`, its place from 0; then what is predicted.

        That is p_<class> of each class and `predicted`, the likeliest. The table's own labels are not read. Raises
        DataError when there is no row, RuleError when a text is too long.
        """
        options = parse_options(contract.settings["options"])
        rows = _known(tables[ROWS], options, as_of)
        if rows.is_empty():
            raise DataError(f"{ROWS}: no rows up to {as_of}")
        field = next(iter(contract.tokens.values()))
        for place, text in rows.select(PLACE, options.text).iter_rows():
            try:
                field.require(text, place)
            except InputError as error:
                rule = f"text of at most {options.longest} characters"
                raise RuleError(str(error), options.text, rule, place) from None
        size = rows_within(contract.row_bytes())
        parts = (rows[options.text][start : start + size].to_list() for start in range(0, len(rows), size))
        output = np.concatenate(
            [model({name: contract.tokens[name].encode(part) for name in model.names}) for part in parts]
        )
        return rows.select(options.id or pl.col(PLACE).cast(pl.Int64).alias(ROW)).with_columns(
            predicted_columns(probabilities(output), options.classes)
        )

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        return self.predict(since.now, since.as_of, contract, Constant(contract, tuple(contract.tokens)))

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        return outcomes(predictions, since, self.options)

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Show how well each class is told, calibration, and the surest mistakes with their texts."""
        assert isinstance(dataset, Texts)
        texts = [dataset.texts[row] for row in rows]
        return pictures(texts, dataset.target(rows), outputs, self.options.classes, count)


def _known(table: pl.LazyFrame, options: Options, as_of: date) -> pl.DataFrame:
    """Return the rows up to `as_of`, with PLACE; all of them where rows have no time. Categories become texts."""
    schema = table.collect_schema()
    texts = [name for name in (options.text, options.target, options.split) if name and name in schema]
    table = table.with_columns(pl.col(texts).cast(pl.String)).with_row_index(PLACE)
    if options.time and options.time in schema:
        table = table.filter(pl.col(options.time).cast(pl.Date) <= as_of)
    return table.collect(engine="streaming")


def table_contract(options: Options) -> TableContract:
    """Return the contract of the one table. What no prediction needs may be missing: label, time and segments."""
    columns = [
        Column(options.text, "string", about="text", free=True),
        Column(options.target, "string", required=False, nullable=True, about="label"),
        *[Column(name, "string", required=False, nullable=True, about="segment") for name in options.segments],
        *([Column(options.time, "date", required=False, about="day")] if options.time else []),
        *[Column(name, "string", key=True, about="id of a row") for name in options.id],
    ]
    if options.split:
        columns.append(Column(options.split, "string", required=False, nullable=True, about="split"))
    if options.group and options.group not in (*options.segments, *options.id):
        columns.append(Column(options.group, "string", required=False, nullable=True, about="group"))
    return TableContract(tuple(columns), options.time, None, options.id, name=ROWS)
