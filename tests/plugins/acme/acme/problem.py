"""A kind of learning: how many visits a shop has tomorrow, from its last days."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.core.files import read_json, write_json
from tasks.problems.base import (
    Dataset,
    Example,
    FeatureContract,
    Floats,
    HardRows,
    Inputs,
    Predict,
    Problem,
    Rows,
    Score,
    Split,
)
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.tables.table import Column, TableContract, Tables

VISITS = "visits"
SHARES: dict[Split, tuple[float, float]] = {"train": (0, 0.6), "valid": (0.6, 0.8), "test": (0.8, 1)}


class Options(Frozen):
    """`days`: how many days of a shop a row sees."""

    days: int = Field(default=7, gt=0)


def windows(table: pl.LazyFrame, days: int) -> pl.DataFrame:
    """One row for each shop and day: `past`, its visits of the `days` before; `next`, those of the day itself."""
    lags = [pl.col("visits").shift(back).over("shop") for back in range(days, 0, -1)]
    past = pl.concat_list(lags).cast(pl.List(pl.Float32)).alias("past")
    rows = table.sort("date", "shop").with_columns(past, pl.col("visits").cast(pl.Float32).alias("next"))
    return rows.filter(pl.col("past").list.eval(pl.element().is_null()).list.any().not_()).collect()


class ShopDays(Dataset):
    """The rows of `windows` in the order of their days, split by these."""

    def __init__(self, table: pl.DataFrame, contract: FeatureContract) -> None:
        self.table, self.contract = table, contract
        day = (table["date"].rank("dense").to_numpy() - 1) / table["date"].n_unique()
        self.splits = {
            split: np.flatnonzero((day >= low) & (day < high)).astype(np.int64) for split, (low, high) in SHARES.items()
        }
        self.groups = table["shop"].rank("dense").to_numpy().astype(np.int64)
        self.segments = {"shop": table["shop"].to_numpy().astype(np.str_)}
        self._past = np.array(table["past"].to_list(), dtype=np.float32)

    def inputs(self, rows: Rows, names: Any = ()) -> Inputs:
        return {"past": self._past[rows]}

    def target(self, rows: Rows) -> NDArray[Any]:
        return self.table["next"].to_numpy()[rows]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table.write_parquet(folder / "rows.parquet")
        write_json(folder / "contract.json", contract_to_json(self.contract))


class Visits(Problem):
    """One number a row, by its absolute error relative to all visits."""

    kind: ClassVar[str] = "acme-visits"
    primary_metric = "wape"

    def __init__(self, options: Mapping[str, Any]) -> None:
        try:
            self.options = Options.model_validate(dict(options))
        except ValidationError as error:
            raise ConfigError(f"problem: {error.errors()[0]['msg']}") from error

    def tables(self) -> tuple[TableContract, ...]:
        columns = (
            Column("date", "date", key=True),
            Column("shop", "string", key=True),
            Column("visits", "number", low=0),
        )
        return (TableContract(columns, "date", "visits", ("shop",), name=VISITS),)

    def draft_contract(self) -> FeatureContract:
        return FeatureContract(
            problem=self.kind,
            inputs={"past": ("float32", (self.options.days,))},
            output_shape=(1,),
            settings={"options": self.options.model_dump(mode="json")},
        )

    def features(self, tables: Tables, as_of: date) -> Dataset:
        return ShopDays(
            windows(tables[VISITS].filter(pl.col("date") <= as_of), self.options.days), self.draft_contract()
        )

    def load(self, folder: Path) -> Dataset:
        contract = contract_from_json(read_json(folder / "contract.json"))
        return ShopDays(pl.read_parquet(folder / "rows.parquet"), contract)

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        return lambda output, target: (output[:, 0] - target).abs()

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Yesterday's visits."""
        return dataset.inputs(rows)["past"][:, -1:]

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        loss = np.abs(output[:, 0].astype(np.float64) - target)
        return Score(loss, np.abs(target).astype(np.float64), {"mae": float(loss.mean())})

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        return np.average(list(outputs), axis=0, weights=weights).astype(np.float32)

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        if kind != "noise":
            raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}; there are: noise")
        past = inputs["past"]
        return {"past": past * np.random.default_rng(seed).normal(1, level, past.shape).astype(np.float32)}

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """One row for each shop with enough days: the visits of the day after `as_of`."""
        last = tables[VISITS].filter(pl.col("date") <= as_of).sort("date").group_by("shop").tail(self.options.days)
        rows = last.group_by("shop").agg(pl.col("visits").cast(pl.Float32)).sort("shop").collect()
        rows = rows.filter(pl.col("visits").list.len() == self.options.days)
        output = model({"past": np.array(rows["visits"].to_list(), dtype=np.float32)})
        return rows.select("shop").with_columns(pl.Series("visits", output[:, 0]))

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        return []
