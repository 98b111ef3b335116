"""Each row is an (entity, origin) in one table, split by the time of its label."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.contract import side_by_side
from tasks.core.errors import DataError
from tasks.core.files import read_json, write_json
from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Raw, Rows
from tasks.problems.blocks.splits import SPLITS, with_validation
from tasks.problems.contracts import contract_from_json, contract_to_json, differing_options
from tasks.problems.tabular.history import ORIGIN, PREVIOUS, UNKNOWN, Origins, amounts_after, feature_names, features
from tasks.problems.tabular.options import Options, parse_options

SPLIT, LABEL = "split", "label"
EVENTS = "events"
"""The raw table has this name."""
SAME = ("entity", "date", "target", "horizon_days", "classes")
"""These options define the prediction."""
REBUILT = ("windows", "amounts", "parts", "categories")
"""These options define the features."""


class EntityRows(Dataset):
    """EntityRows has a `table` of one line a row, by origin: entity, origin, split, features, categories, two classes.

    The classes are `label` (of the days after the origin) and `previous` (of the days before it).
    """

    def __init__(self, table: pl.DataFrame, contract: FeatureContract) -> None:
        self.table = table
        self.contract = contract
        self.options = Options.model_validate(contract.settings["options"])
        self.splits = {name: np.flatnonzero((table[SPLIT] == name).to_numpy()).astype(np.int64) for name in SPLITS}
        self.groups = table[self.options.entity].rank("dense").to_numpy().astype(np.int64)
        self.previous: NDArray[np.int64] = table[PREVIOUS].to_numpy().astype(np.int64)
        self.segments = {
            PREVIOUS: np.array(self.options.classes)[self.previous],
            **{name: table[name].to_numpy().astype(np.str_) for name in self.options.categories},
        }
        self._labels: NDArray[np.int64] = table[LABEL].to_numpy().astype(np.int64)
        self._inputs = model_inputs(table, contract)

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        return {name: values[rows] for name, values in self._inputs.items() if not names or name in names}

    def target(self, rows: Rows) -> NDArray[np.int64]:
        return self._labels[rows]

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "EntityRows":
        """Return these rows under a contract with other code books or standardisation; features are taken by name.

        Other windows, amounts, parts and categories may be had if there is the `raw` table. Classes must be equal.
        """
        edges = contract.statistics["edges"]
        if list(edges) != list(self.contract.statistics["edges"]):
            raise ValueError(f"its classes have the edges {edges}, tonight's {self.contract.statistics['edges']}")
        theirs = parse_options(contract.settings["options"])
        differing = differing_options(theirs, self.options, SAME + REBUILT if raw is None else SAME, REBUILT)
        made = {*feature_names(theirs), *theirs.categories}
        if missing := [name for name in (*contract.settings["features"], *contract.categories) if name not in made]:
            raise ValueError(f"its features {', '.join(missing)} are no longer made")
        table = self.table if not differing or raw is None else self._rebuilt(theirs, raw)
        return EntityRows(table, contract)

    def _rebuilt(self, theirs: Options, raw: Raw) -> pl.DataFrame:
        """Return this table with features made under other options."""
        columns = (*theirs.sums, *theirs.parts, *theirs.categories)
        raw.require(EVENTS, columns, "features")
        days = self.table[ORIGIN].unique().sort()
        step = self.options.step_days
        origins = Origins(days[-1], step, (days[-1] - days[0]).days // step + 1)
        known = raw.tables[EVENTS].filter(pl.col(theirs.date) <= raw.as_of)
        made = features(known, origins, theirs).drop(PREVIOUS).collect(engine="streaming")
        keys = [theirs.entity, ORIGIN]
        rows = self.table.select(*keys, SPLIT, LABEL, PREVIOUS)
        if rows.join(made, on=keys, how="anti").height:
            raise ValueError("the raw table does not hold the rows of tonight's features")
        return rows.join(made, on=keys, how="left", maintain_order="left")

    def newest(self) -> "EntityRows":
        """Return the same rows, those that validated among the ones to train on."""
        return EntityRows(with_validation(self.table, SPLIT), self.contract)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table.write_parquet(folder / "rows.parquet")
        write_json(folder / "contract.json", contract_to_json(self.contract))


def load_rows(folder: Path) -> EntityRows:
    """Load the dataset that `EntityRows.save` wrote."""
    return EntityRows(
        pl.read_parquet(folder / "rows.parquet", glob=False), contract_from_json(read_json(folder / "contract.json"))
    )


def model_inputs(rows: pl.DataFrame, contract: FeatureContract) -> Inputs:
    """Return `numeric` (rows, features) in the table's units and, if there are categories, `codes` (rows, categories).

    A value that is not in the contract's code book has code 0, unknown.
    """
    inputs: Inputs = {"numeric": rows.select(contract.settings["features"]).to_numpy().astype(np.float32, order="C")}
    if contract.categories:
        codes = [
            rows[name].replace_strict(list(book), list(range(len(book))), default=0, return_dtype=pl.Int64).to_numpy()
            for name, book in contract.categories.items()
        ]
        inputs["codes"] = np.column_stack(codes).astype(np.int64)
    return inputs


def classify(amounts: pl.Expr, edges: tuple[float, ...]) -> pl.Expr:
    """Return each amount's class: 0 for nothing, else 1 plus the edges reached (an edge belongs to the upper class)."""
    reached = pl.sum_horizontal(pl.lit(1, pl.Int64), *[(amounts >= edge).cast(pl.Int64) for edge in edges])
    return pl.when(amounts > 0).then(reached).otherwise(0)


def build_rows(table: pl.LazyFrame, as_of: date, options: Options) -> EntityRows:
    """Build all labelled rows, each in the split of its origin.

    test: the origin whose label days end at `as_of`; valid: the one whose label days end where those of test begin;
    train: all whose label days end before those of valid begin.
    Entities that are known at the origin but silent after it have the first class. Raises DataError when the history
    is too short.
    """
    table = table.filter(pl.col(options.date) <= as_of)
    first = table.select(pl.col(options.date).cast(pl.Date).min()).collect().item()
    horizon, step = options.horizon_days, options.step_days
    test = as_of - timedelta(days=horizon)
    valid = test - timedelta(days=horizon)
    train = valid - timedelta(days=horizon)
    reach = (train - first).days + 1 - options.min_history_days if first else -1
    if reach < 0:
        have = (as_of - first).days + 1 if first else 0
        raise DataError(f"table: {have} days of history, but the splits need {have - reach}; deliver more")
    origins = Origins(test, step, 2 * horizon // step + min(options.train_origins, reach // step + 1))
    split = pl.when(pl.col(ORIGIN) <= train).then(pl.lit("train")).when(pl.col(ORIGIN) == valid).then(pl.lit("valid"))
    rows = (
        features(table, origins, options)
        .with_columns(split.when(pl.col(ORIGIN) == test).then(pl.lit("test")).alias(SPLIT))
        .drop_nulls(SPLIT)
        .join(amounts_after(table, origins, options), on=[options.entity, ORIGIN], how="left")
        .with_columns(pl.col("amount").fill_null(0))
        .sort(ORIGIN, options.entity)
        .collect(engine="streaming")
    )
    training = rows.filter(pl.col(SPLIT) == "train")
    edges = options.edges or _quantile_edges(training, options)
    labelled = rows.with_columns(
        classify(pl.col("amount"), edges).alias(LABEL), classify(pl.col(PREVIOUS), edges).alias(PREVIOUS)
    ).drop("amount")
    return EntityRows(labelled, _contract(training, edges, options))


def _quantile_edges(training: pl.DataFrame, options: Options) -> tuple[float, ...]:
    positive = training["amount"].filter(training["amount"] > 0)
    if positive.is_empty():
        raise DataError(f"table: {options.target} is zero in all of the training period")
    return tuple(round(float(edge), 2) for edge in np.quantile(positive.to_numpy(), options.quantiles))


def _contract(training: pl.DataFrame, edges: tuple[float, ...], options: Options) -> FeatureContract:
    names = feature_names(options)
    logged: Floats = np.log1p(training.select(names).to_numpy().astype(np.float64))
    deviation = logged.std(axis=0)
    categories = {
        name: (UNKNOWN, *sorted(set(training[name].unique().to_list()) - {UNKNOWN})) for name in options.categories
    }
    statistics = {
        "edges": list(edges),
        "log_mean": logged.mean(axis=0).round(6).tolist(),
        "log_scale": np.where(deviation > 0, deviation, 1.0).round(6).tolist(),
    }
    return make_contract(options, categories, statistics)


def make_contract(
    options: Options, categories: Mapping[str, tuple[str, ...]], statistics: Mapping[str, list[float]]
) -> FeatureContract:
    """Return the contract of models on these rows; `statistics`: edges, and log_mean and log_scale by feature."""
    names = feature_names(options)
    inputs: dict[str, tuple[str, tuple[int, ...]]] = {"numeric": ("float32", (len(names),))}
    if options.categories:
        inputs["codes"] = ("int64", (len(options.categories),))
    return FeatureContract(
        problem="tabular",
        inputs=inputs,
        output_shape=(len(options.classes),),
        categories=categories,
        statistics=statistics,
        settings={"options": options.model_dump(mode="json"), "features": list(names)},
        codes={"codes": side_by_side(categories)} if options.categories else {},
    )
