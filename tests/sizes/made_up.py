"""A made-up kind of learning: rows are arrays of any shape and type on a disk, and the answer is one number.

It knows the largest batch that anybody asked it for: a loop that holds all rows shows.
"""

import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.core.errors import ConfigError
from tasks.core.files import read_json, write_json
from tasks.problems import PROBLEMS
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
    rows_within,
)
from tasks.problems.contracts import contract_from_json, contract_to_json
from tasks.tables.table import Column, TableContract, Tables

KIND = "made-up"
GROUPS, REGIONS = 1000, ("east", "north", "south", "west")


@dataclass
class Asked:
    """The most bytes of inputs that one call gave."""

    largest: int = 0
    calls: list[int] = field(default_factory=list)

    def note(self, inputs: Inputs) -> Inputs:
        """Remember a call's size, and hand its arrays on."""
        self.calls.append(sum(values.nbytes for values in inputs.values()))
        self.largest = max(self.largest, self.calls[-1])
        return inputs


ASKED = Asked()


class OnDisk(Dataset):
    """`x` (rows, *shape) is mapped into memory; the target is a row's mean plus noise by its number."""

    def __init__(self, folder: Path, contract: FeatureContract, scratch: Any = None) -> None:
        self.folder, self.contract, self._scratch = folder, contract, scratch
        self.x: NDArray[Any] = np.load(folder / "x.npy", mmap_mode="r")
        self.y: Floats = np.load(folder / "y.npy")
        count = len(self.x)
        numbers = np.arange(count, dtype=np.int64)
        bounds = (count // 5, count // 5 + 2 * count // 5)
        self.splits = dict(zip(("train", "valid", "test"), np.split(numbers, bounds), strict=True))
        self.groups = numbers % GROUPS
        self.segments = {"region": np.array(REGIONS)[numbers % len(REGIONS)]}

    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        return ASKED.note({"x": self.x[rows]})

    def target(self, rows: Rows) -> NDArray[Any]:
        return self.y[rows]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("x.npy", "y.npy"):
            shutil.copyfile(self.folder / name, folder / name)
        write_json(folder / "contract.json", contract_to_json(self.contract))


class MadeUp(Problem):
    """`shape`, `dtype` of a row, which the table holds as bytes in its column `x`."""

    kind: ClassVar[str] = KIND
    primary_metric = "wape"

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.shape, self.dtype = tuple(options["shape"]), np.dtype(options["dtype"])

    def tables(self) -> tuple[TableContract, ...]:
        return (TableContract((Column("date", "date", key=True), Column("size", "number")), "date", "size", ()),)

    def draft_contract(self) -> FeatureContract:
        return FeatureContract(KIND, {"x": (str(self.dtype), self.shape)}, (1,))

    def features(self, tables: Tables, as_of: date) -> Dataset:
        table = tables["table"]
        scratch = tempfile.TemporaryDirectory(prefix="nightstill-made-up-")
        count, folder = int(table.select(pl.len()).collect().item()), Path(scratch.name)
        x = np.lib.format.open_memmap(folder / "x.npy", "w+", self.dtype, (count, *self.shape))
        y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (count, 1))
        size = rows_within(self.draft_contract().row_bytes())
        for start in range(0, count, size):
            part = table.slice(start, size).select("x").collect().to_series()
            values = np.frombuffer(b"".join(part), self.dtype).reshape(-1, *self.shape)
            x[start : start + size] = values
            noise = np.random.default_rng(start).normal(0, 0.01, (len(values), 1))
            y[start : start + size] = values.reshape(len(values), -1).mean(axis=1, keepdims=True) * (1 + noise)
        x.flush()
        y.flush()
        return OnDisk(folder, self.draft_contract(), scratch)

    def load(self, folder: Path) -> Dataset:
        return OnDisk(folder, contract_from_json(read_json(folder / "contract.json")))

    def hard_loss(self, contract: FeatureContract) -> HardRows:
        return lambda output, target: (output - target).abs().mean(dim=1)

    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        return np.full((len(rows), 1), dataset.target(rows).mean() * 0.5, np.float32)

    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        return Score(np.abs(output - target)[:, 0].astype(np.float64), np.abs(target)[:, 0].astype(np.float64), {})

    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        mean: Floats = np.mean(list(outputs), axis=0)
        return mean

    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        if kind not in ("noise", "blur"):
            raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}")
        noise = np.random.default_rng(seed).normal(0, level, inputs["x"].shape).astype(np.float32)
        return ASKED.note({"x": (inputs["x"] + noise).clip(0, 255).astype(self.dtype)})

    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        raise NotImplementedError

    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        return []


class Wide(nn.Module):
    """A convolution that is many times as wide as its image, or hidden neurons for a row of numbers."""

    def __init__(self, contract: FeatureContract) -> None:
        super().__init__()
        shape = contract.inputs["x"][1]
        self.convolution = nn.Conv2d(shape[0], 32, 3, padding=1) if len(shape) == 3 else None
        self.hidden = nn.Linear(32 if self.convolution else shape[0], 32)
        self.output = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.float()
        if self.convolution is not None:
            numbers = torch.relu(self.convolution(numbers)).mean(dim=(2, 3))
        result: Tensor = self.output(torch.relu(self.hidden(numbers))) + x.float().flatten(1).mean(dim=1, keepdim=True)
        return result

    def prunable(self) -> list[tuple[nn.Linear, nn.Linear]]:
        return [(self.hidden, self.output)]


def build_wide(_options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """A network with small first weights, so that it is right but for a little."""
    model = Wide(contract)
    with torch.no_grad():
        model.output.weight.mul_(0.01)
        model.output.bias.zero_()
    return model


def register() -> None:
    """Make the kind known to this process."""
    PROBLEMS[KIND] = f"{__name__}:MadeUp"
    models = ModuleType(f"tasks.problems.{KIND}.models")
    models.__dict__.update(NETWORKS={"wide": f"{__name__}:build_wide"}, TREES={})
    sys.modules[models.__name__] = models
