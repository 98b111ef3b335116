"""A dataset of labelled rows keeps their raw columns, so that it can be read under another release's contract."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.core.errors import DataError
from tasks.core.files import read_json, write_json
from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Raw, Rows
from tasks.problems.blocks.splits import LEFT_OUT, SPLITS, with_validation
from tasks.problems.contracts import contract_from_json, contract_to_json, differing_options
from tasks.problems.tabular.labelled.columns import contract_of, model_inputs
from tasks.problems.tabular.labelled.options import Options, parse_options
from tasks.problems.tabular.labelled.splits import keys_of, split_of

ROWS = "rows"
"""The raw table has this name."""
PLACE, SPLIT, GROUP, LABEL, WEIGHT = "_place", "_split", "_group", "_label", "_weight"
LAST = "_last"
SAME = ("target", "task", "metric", "classes", "positive", "weight", "group", "time", "id", "valid_share", "test_share")
"""These options define the prediction and its rows."""
REBUILT = ("numbers", "booleans", "dates", "categories")


class LabelledRows(Dataset):
    """LabelledRows has a `table` of the labelled rows: their raw columns, and what was made of these once for all.

    `last` (all rows,): the label of the group's latest earlier row, a value or a number of a class, NaN where there is
    none; None where rows have no group or no time.
    """

    def __init__(self, table: pl.DataFrame, contract: FeatureContract) -> None:
        self.table, self.contract = table, contract
        self.options = parse_options(contract.settings["options"])
        self.splits = {name: np.flatnonzero((table[SPLIT] == name).to_numpy()).astype(np.int64) for name in SPLITS}
        self.groups = table[GROUP].to_numpy().astype(np.int64)
        self.segments = segments_of(table, self.options)
        self.last: Floats | None = table[LAST].to_numpy().astype(np.float32) if LAST in table.columns else None
        self._inputs = model_inputs(table, self.options, contract)
        self._target = self._targets()

    def _targets(self) -> NDArray[Any]:
        label = self.table[LABEL].to_numpy()
        if self.options.weight:
            return np.column_stack([label, self.table[WEIGHT].to_numpy()]).astype(np.float32)
        return label.astype(np.int64 if self.options.labels else np.float32)

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        return {name: values[rows] for name, values in self._inputs.items() if not names or name in names}

    def target(self, rows: Rows) -> NDArray[Any]:
        """Return (n,) values or numbers of classes; where rows have a weight (n, 2), it is the second."""
        return self._target[rows]

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "LabelledRows":
        """Return these rows under a contract with other code books, statistics or columns of the `raw` table.

        What is predicted, and of which rows, must be equal. Raises ValueError saying what differs.
        """
        theirs = parse_options(contract.settings["options"])
        differing_options(theirs, self.options, SAME if raw else SAME + REBUILT, REBUILT)
        needed = [name for name in theirs.predictors if name not in self.table.columns]
        table = self.table
        if needed and raw is not None:
            raw.require(ROWS, needed, "features")
            found = raw.tables[ROWS].select(needed).collect(engine="streaming")
            table = table.with_columns(found[table[PLACE]])
        return LabelledRows(table, contract)

    def answers(self, contract: FeatureContract) -> Callable[[Floats], Floats]:
        """Return how another contract's outputs are read: a value's quantiles are found by their levels.

        Levels that it lacks lie between the nearest that it has, all at its value where it has none; the error is the
        value's alone. Raises ValueError when it answers something else.
        """
        given = contract.settings.get("options", {})
        theirs, ours = tuple(given.get("quantiles", ())), self.options.quantiles
        if theirs == ours or not given.get("task") == self.options.task == "value":
            return super().answers(contract)
        return partial(with_levels, theirs=theirs, ours=ours)

    def newest(self) -> "LabelledRows":
        """Return the same rows, those that validated among the ones to train on."""
        return LabelledRows(with_validation(self.table, SPLIT), self.contract)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table.write_parquet(folder / "rows.parquet")
        write_json(folder / "contract.json", contract_to_json(self.contract))


def with_levels(output: Floats, theirs: Sequence[float], ours: Sequence[float]) -> Floats:
    """Return (n, 1 + ours) a value and its quantiles of other levels, from (n, 1 + theirs)."""
    value = output[:, :1]
    if not ours:
        return value
    if not theirs:
        return np.repeat(value, 1 + len(ours), axis=1)
    places = np.interp(ours, theirs, np.arange(len(theirs)))
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, len(theirs) - 1)
    quantiles, share = output[:, 1:], (places - below).astype(np.float32)
    return np.hstack([value, quantiles[:, below] + share * (quantiles[:, above] - quantiles[:, below])])


def load_rows(folder: Path) -> LabelledRows:
    """Load the dataset that `LabelledRows.save` wrote."""
    table = pl.read_parquet(folder / "rows.parquet", glob=False)
    return LabelledRows(table, contract_from_json(read_json(folder / "contract.json")))


def build_rows(table: pl.DataFrame, options: Options) -> LabelledRows:
    """Build the dataset of all rows with a label; `table` has PLACE, that of a row in the raw table.

    Raises DataError when there are too few, or a label is none.
    """
    for role, name in (("target", options.target), ("weight", options.weight), ("group", options.group)):
        if name and name not in table.columns:
            raise DataError(f"{name}: the table has no such column, and training needs the {role}")
    rows = table.filter(pl.col(options.target).is_not_null())
    if rows.is_empty():
        raise DataError(f"{options.target}: no row has a label")
    for role, name in (("weight", options.weight), ("group", options.group)):
        if name and (empty := rows[name].null_count()):
            raise DataError(f"{name}: null in {empty} rows with a label; each of them needs its {role}")
    keys = keys_of(rows, options)
    rows = rows.with_columns(
        pl.Series(LABEL, labels_of(rows[options.target], options)),
        (pl.col(options.weight).cast(pl.Float64) if options.weight else pl.lit(1.0)).alias(WEIGHT),
        pl.Series(SPLIT, split_of(rows, keys, options).astype(np.str_)),
        pl.Series(GROUP, keys.rank("dense")).cast(pl.Int64),
    )
    known = [PLACE, SPLIT, GROUP, LABEL, WEIGHT]
    if options.time and options.group:
        rows, known = _with_last(rows, options.time, options.group), [*known, LAST]
    rows = rows.filter(pl.col(SPLIT) != LEFT_OUT).select(*known, *dict.fromkeys(options.predictors))
    training = rows.filter(pl.col(SPLIT) == "train")
    label, weight = training[LABEL].to_numpy(), training[WEIGHT].to_numpy()
    return LabelledRows(rows, contract_of(training, label, weight, options))


def _with_last(rows: pl.DataFrame, time: str, group: str) -> pl.DataFrame:
    """Return the rows with LAST; of several earlier rows of one moment, the last one in the table counts.

    Rows that are left out of the splits count too: when a row is to be predicted, all earlier labels are known.
    """
    moment = pl.col(time).cast(pl.Date).alias("_moment")
    moments = rows.group_by(group, moment).agg(pl.col(LABEL).last()).sort("_moment")
    last = moments.select(group, "_moment", pl.col(LABEL).shift(1).over(group).alias(LAST))
    found = rows.with_columns(moment).join(last, on=[group, "_moment"], how="left", maintain_order="left")
    return found.drop("_moment").with_columns(pl.col(LAST).fill_null(float("nan")))


def labels_of(target: pl.Series, options: Options) -> Floats:
    """Return (rows,) values, or numbers of classes. Raises DataError naming a text that is no class."""
    if not options.labels:
        return target.cast(pl.Float64).to_numpy()
    if options.task == "yes-no":
        yes = target == options.positive if options.positive is not None else target.cast(pl.Boolean)
        if options.positive is not None and not yes.any():
            raise DataError(f"{options.target}: no row is {options.positive!r} (problem.positive)")
        return yes.cast(pl.Float64).to_numpy()
    numbers = {name: float(place) for place, name in enumerate(options.classes)}
    found = target.replace_strict(numbers, default=None, return_dtype=pl.Float64)
    if found.null_count():
        odd = target.filter(found.is_null())
        raise DataError(f"{options.target}: {odd[0]!r} in {len(odd)} rows is none of problem.classes")
    return found.to_numpy()


def segments_of(table: pl.DataFrame, options: Options) -> dict[str, NDArray[np.str_]]:
    """Return the columns of categories and booleans by which errors are told apart."""
    return {
        name: table[name].cast(pl.String).fill_null("null").to_numpy().astype(np.str_)
        for name in (*options.categories, *options.booleans)
    }
