"""This interface hides the kind of learning: stages, trainer, compression and gates know only this."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from serving.contract import Codebook, Tokens
from serving.contract.contract import ROWS_AT_ONCE
from tasks.core.config import Frozen
from tasks.core.errors import ConfigError
from tasks.tables.table import TableContract, Tables

if TYPE_CHECKING:
    import onnx
    import torch

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Inputs = dict[str, NDArray[Any]]
Split = Literal["train", "valid", "test"]
HardRows = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
SoftRows = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]


BATCH_BYTES = 24 * 2**20
"""The inputs of one batch take at most so much: calls then cost nothing, and layers that are many times as wide fit."""
SCORING_BYTES = 256 * 2**20
"""The inputs of a released model take at most so much at once: it is small, and splits them among its threads."""


class Predict(Protocol):
    """Predict is a model to score with: (n, *output_shape) of its inputs. `names`: the inputs that it reads."""

    @property
    def names(self) -> Collection[str]: ...

    def __call__(self, inputs: Inputs) -> Floats: ...


@dataclass(frozen=True)
class Clusters:
    """Clusters say which rows' errors are dependent: rows of equal `entities` (rows,) or `times` (rows, steps).

    `times`: number of the block of time in which each step of a row lies, the same for all entities; one column where
    a row is about one moment.
    """

    entities: NDArray[np.int64]
    times: NDArray[np.int64]


@dataclass(frozen=True)
class FeatureContract:
    """A FeatureContract describes the inputs and outputs of a model, stored with each release.

    `inputs`: name -> (dtype, shape without the batch axis), in the order of the model's arguments.
    `output_shape`: without the batch axis. `categories`: code books of categorical inputs, name -> values in
    code order. `statistics`: numbers fixed on the training split. `settings`: the problem's own options.
    `codes`: name of an input that holds category codes -> the code book of each of its columns. `limits`: name of an
    input of numbers -> what they are at least and at most. `histories`: name of an input that holds codes of what
    happened before, the last one at the end and 0 before the first -> the code book of them all. `choice`: so many of
    the best outputs does the exported model name, as codes of that book; 0: none. `repeats`: those in the history may
    be named too. `tokens`: name of an input that is made of texts -> how. `images`: name of an input that holds images
    -> how files of it are read (`serving.contract.Image`).
    """

    problem: str
    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    output_shape: tuple[int, ...]
    categories: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    codes: Mapping[str, tuple[Codebook, ...]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    histories: Mapping[str, Codebook] = field(default_factory=dict)
    choice: int = 0
    repeats: bool = False
    tokens: Mapping[str, Tokens] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def most_rows(self) -> int | None:
        """Return how many rows a run of the model has at most; None: any."""
        return ROWS_AT_ONCE if self.images or self.tokens else None

    def row_bytes(self, names: Collection[str] = ()) -> int:
        """Count the bytes that one row of these inputs takes in a batch; without names, of all inputs."""
        shapes = [item for name, item in self.inputs.items() if not names or name in names]
        return sum(_row_bytes(np.dtype(kind), shape) for kind, shape in shapes)


@dataclass(frozen=True)
class Raw:
    """Raw holds the tables that a dataset was made of, and its day: for inputs that the dataset's own rows lack."""

    tables: Tables
    as_of: date

    def require(self, table: str, columns: Collection[str], what: str) -> None:
        """Raise ValueError when a table lacks some of the `columns` that a model's inputs (`what`) are made of."""
        known = self.tables[table].collect_schema()
        if missing := [name for name in columns if name not in known]:
            raise ValueError(f"its {what} need {', '.join(missing)}, which tonight's table does not have")


class Dataset(ABC):
    """A Dataset holds model-ready rows, gathered on demand. Row numbers index all splits together.

    `splits`: row numbers by split, in time order: every target of `valid` lies after those of `train`, and every
    target of `test` after those of `valid`. `groups` (rows,): entity of each row, for folds.
    `segments`: column name -> (rows,) values for the segment gate and the report.
    """

    contract: FeatureContract
    splits: Mapping[Split, Rows]
    groups: NDArray[np.int64]
    segments: Mapping[str, NDArray[np.str_]]

    @abstractmethod
    def inputs(self, rows: Rows, names: Collection[str] = ()) -> Inputs:
        """Return arrays for the model, first axis len(rows), in the contract's order; by default all, else `names`."""

    @abstractmethod
    def target(self, rows: Rows) -> NDArray[Any]:
        """Return the targets: forecasting (n, horizon) float32 units, tabular (n,) int64 classes or float32 values.

        Ranking has (n, items) int8: 1 came, -1 is no answer.

        NaN where nobody knows: no loss counts it, no error is measured there.
        """

    def weights(self, rows: Rows) -> Floats | None:
        """Return (n,) how much each row's truth counts in training, 1 on average; None: all rows alike."""
        return None

    def parts(
        self, rows: Rows, names: Collection[str] = (), budget_bytes: int = BATCH_BYTES, most: int | None = None
    ) -> Iterator[Rows]:
        """Yield the rows in order, in parts whose inputs `names` keep within the budget, of at most `most` rows."""
        size = rows_within(self.contract.row_bytes(names), budget_bytes, most)
        return (rows[start : start + size] for start in range(0, len(rows), size))

    def batches(
        self, rows: Rows, names: Collection[str] = (), budget_bytes: int = BATCH_BYTES, most: int | None = None
    ) -> "Batches":
        """Return the inputs of `parts`: all loops read by it rows that are more than a training's batch or a sample."""
        return Batches(
            len(rows), lambda: (self.inputs(part, names) for part in self.parts(rows, names, budget_bytes, most))
        )

    def under(self, contract: FeatureContract, raw: Raw | None = None) -> "Dataset":
        """Return the same rows with inputs made under another contract of this workload, such as the champion's.

        Raises ValueError saying what differs when those inputs cannot be made, from `raw` or from this data alone.
        """
        if (contract.inputs, contract.categories, contract.statistics) != (
            self.contract.inputs,
            self.contract.categories,
            self.contract.statistics,
        ):
            raise ValueError("its inputs, categories or statistics differ from tonight's")
        return self

    def answers(self, contract: FeatureContract) -> Callable[[Floats], Floats]:
        """Return how outputs of a model under another contract of this workload become outputs under this one.

        Raises ValueError when they cannot.
        """
        if contract.output_shape != self.contract.output_shape:
            theirs, ours = contract.output_shape, self.contract.output_shape
            raise ValueError(f"it answers {contract.problem} {theirs}, not {self.contract.problem} {ours}")
        return lambda output: output

    def taught_by(self, contract: FeatureContract) -> Callable[[Floats], Floats]:
        """Return how such outputs become labels to learn from: as `answers`, if nothing in these is a stand-in.

        Raises ValueError when they cannot.
        """
        return self.answers(contract)

    def clusters(self, rows: Rows) -> Clusters:
        """Return the entity and blocks of time of some rows; a dataset without times of its own has one block."""
        return Clusters(self.groups[rows], np.zeros((len(rows), 1), dtype=np.int64))

    def newest(self) -> "Dataset":
        """Return this data with all rows to train on that are apart from the test's: validation rows are among them.

        Where rows have a time, their targets end before those of the test begin. No row validates, rows may be numbered
        anew, and the contract is that of before. Raises ConfigError if the kind of learning has none.
        """
        raise ConfigError(f"refit: rows of {self.contract.problem} are not trained on again; leave it out")

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write deterministic files into `folder` (equal data: equal bytes); `Problem.load` reads them."""


def rows_within(row_bytes: int, budget_bytes: int = BATCH_BYTES, most: int | None = None) -> int:
    """Return how many rows of this size keep within the budget: one at least, `most` at most."""
    fit = max(1, budget_bytes // max(1, row_bytes))
    return fit if most is None else min(fit, most)


@dataclass(frozen=True)
class Batches:
    """Batches are `count` rows of inputs, made batch by batch, anew whenever they are iterated."""

    count: int
    make: Callable[[], Iterator[Inputs]]

    def __iter__(self) -> Iterator[Inputs]:
        return self.make()

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, inputs: Inputs, budget_bytes: int = BATCH_BYTES, most: int | None = None) -> "Batches":
        """Return views of arrays that are in memory already."""
        count = len(next(iter(inputs.values()), ()))
        size = rows_within(sum(_row_bytes(v.dtype, v.shape[1:]) for v in inputs.values()), budget_bytes, most)
        starts = range(0, count, size)
        return cls(
            count,
            lambda: ({name: values[start : start + size] for name, values in inputs.items()} for start in starts),
        )


def _row_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Count four bytes at least for a number: the first layer makes a float of each byte of an image."""
    return max(dtype.itemsize, 4) * math.prod(shape)


@dataclass(frozen=True)
class Score:
    """A Score holds errors of predictions: `error = (loss.sum() / weight.sum()) ** exponent`.

    Both are (rows,), so they can be resampled; the exponent of a root of mean squares is 1/2.

    `metrics`: further named numbers (pinball, rmse, accuracy…), for people. `steps` (2, rows, steps): loss and weight
    of every step of a row, where a row is about several steps in time.
    """

    loss: NDArray[np.float64]
    weight: NDArray[np.float64]
    metrics: Mapping[str, float]
    steps: Floats | None = None
    exponent: float = 1.0

    @property
    def error(self) -> float:
        """Return the workload's primary error (WAPE, log loss…): lower is better."""
        return float((self.loss.sum() / self.weight.sum()) ** self.exponent)


class SoftLoss(Frozen):
    """A SoftLoss compares a student's outputs with its teacher's. Its fields are its options."""

    @abstractmethod
    def bind(self, contract: FeatureContract) -> SoftRows:
        """Return the loss of models under this contract: (output, teacher's output, target) -> (n,)."""


@dataclass(frozen=True)
class Labelled:
    """Labelled holds rows with a student's labels: inputs, target and, if there is a teacher, its outputs `soft`.

    `epoch`: how often a training has passed over the rows before.
    """

    inputs: Inputs
    target: NDArray[Any]
    soft: Floats | None = None
    epoch: int = 0


class Augment(Frozen):
    """An Augment makes further training rows from given ones. Its fields are its options.

    `keeps_label`: only inputs change, so the teacher's outputs and features of the row still hold.
    """

    keeps_label: ClassVar[bool] = False

    @abstractmethod
    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        """Return the rows changed, with targets and soft targets that fit the new inputs; `batch` stays as it is."""


class Synthesis(Frozen):
    """A Synthesis makes `rows` without a label once, which the teachers label before a student's training begins.

    Each batch takes `share` times as many of them as it has rows; they count in the soft losses alone.
    """

    rows: int = Field(default=100_000, gt=0)
    share: float = Field(default=1.0, gt=0)

    @abstractmethod
    def make(self, dataset: Dataset, rng: np.random.Generator) -> tuple[Inputs, Rows]:
        """Return the inputs of made rows, and the training row that each was made of."""


@dataclass(frozen=True)
class Strategies:
    """Strategies lists, by kind, a problem's options for distillation. The first of `soft` is used if none is named.

    `terms` are further soft losses, `augment` ways to make more rows.
    """

    soft: Mapping[str, type[SoftLoss]] = field(default_factory=dict)
    terms: Mapping[str, type[SoftLoss]] = field(default_factory=dict)
    augment: Mapping[str, type[Augment] | type[Synthesis]] = field(default_factory=dict)


class Correction(Frozen):
    """A Correction changes a model's outputs at the end of its graph, row by row. Its fields are its numbers.

    It is fitted on rows that no training saw.
    """

    @abstractmethod
    def apply(self, output: Floats) -> Floats:
        """Return the outputs (n, *output_shape) as they are after it."""

    @abstractmethod
    def nodes(self, given: str, wanted: str) -> tuple["list[onnx.NodeProto]", Mapping[str, NDArray[Any]]]:
        """Return the nodes that make the tensor `wanted` of `given` as `apply` does, and their constants by name.

        All other names begin with `wanted`.
        """


@dataclass(frozen=True)
class Finding:
    """A Finding is a fact of the raw tables that a kind of learning alone can judge: `value` must be at most `high`.

    `option`: of the problem, by which the limit is set; empty: it is fixed.
    """

    table: str
    column: str
    rule: str
    value: float
    high: float
    example: Mapping[str, Any] = field(default_factory=dict)
    option: str = ""


@dataclass(frozen=True)
class Example:
    """An Example is one picture for the report: a series' past and future against forecasts, or the like.

    `past`/`actual`/`champion`/`candidate`/`teacher`: (n,) values; `dates`: those of the future part. `actual` is None
    where nothing was observed. A table of counts has `cells`, line by line, and a gallery has `images`, addresses of
    data; both have their names in `dates`.
    """

    title: str
    dates: tuple[str, ...]
    past: tuple[float, ...]
    actual: tuple[float | None, ...]
    curves: Mapping[str, tuple[float, ...]]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    cells: tuple[tuple[float, ...], ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Since:
    """Since holds a workload's raw tables twice, to tell what came of predictions that were made on `as_of`.

    `now`: as they are known on the evening of `until`. `then`: reads them as the predictions saw them; it raises
    IntegrityError where they are gone.
    """

    as_of: date
    until: date
    now: Tables
    then: Callable[[], Tables]


BY = "by:"
"""Columns of segments begin so in `Outcomes`: a segment may have any name."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes are predictions of which the truth is known by now, a row each, in no order that counts.

    `rows` has the columns `entity` (text), `day` (that of the truth), `step` (how many steps ahead, from 1), `truth`
    (a value, or the number of a class), `loss` and `weight` (as Score has them, by `exponent`), `gap` and `size` (bias
    is the sum of gaps over that of sizes; a gap is prediction minus truth, of classes the chance of the likeliest minus
    whether it came), `inside` (whether the interval covers the truth; null without one), and `by:<segment>`. They may
    have `mean_gap` (expected value minus truth) where an expected value stands beside a median.
    `steps`: how many steps ahead the predictions reach. `as_gated`: whether the gates asked the same of their rows, so
    that the shares of the naive error can be compared.
    """

    rows: pl.DataFrame
    exponent: float = 1.0
    steps: int = 1
    as_gated: bool = True


class Problem(ABC):
    """A Problem is one kind of learning, configured by a workload's `problem` section (validated in __init__).

    Raises ConfigError from __init__ on options it does not know. `refits`: its datasets have `newest` rows.
    `corrections`: what `correction` returns, for those that have one.
    """

    kind: ClassVar[str]
    refits: ClassVar[bool] = False
    corrections: ClassVar[type[Correction] | None] = None

    @property
    @abstractmethod
    def primary_metric(self) -> str:
        """Return the name of the error that gates and early stopping go by."""

    @abstractmethod
    def __init__(self, options: Mapping[str, Any]) -> None: ...

    @property
    def segment_columns(self) -> tuple[str, ...] | None:
        """Return the names of the dataset's `segments`; None: only data can tell."""
        return None

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of a model's outputs, its output's last axis; empty: they have none."""
        return ()

    @abstractmethod
    def tables(self) -> tuple[TableContract, ...]:
        """Return the contracts of the raw tables; the first is the one that predictions are about."""

    def findings(self, tables: Tables, as_of: date) -> Iterable[Finding]:
        """Measure what rules of single tables do not see; the tables have kept those. A finding above its limit stops.

        The run ends there, as by any other failed check.
        """
        return ()

    @abstractmethod
    def draft_contract(self) -> FeatureContract:
        """Return a contract as these options make it, without facts that only data tell: to check models beforehand."""

    @abstractmethod
    def features(self, tables: Tables, as_of: date) -> Dataset:
        """Make model-ready rows for training and evaluation; nothing after `as_of` but known-ahead columns is read."""

    @abstractmethod
    def load(self, folder: Path) -> Dataset:
        """Load a dataset that `Dataset.save` wrote."""

    @abstractmethod
    def hard_loss(self, contract: FeatureContract) -> HardRows:
        """Return the training loss of models under this contract: (output, target) -> (n,); the trainer averages it."""

    def strategies(self) -> Strategies:
        """Return the ways of distillation; without any, students learn from the truth alone."""
        return Strategies()

    @abstractmethod
    def naive(self, dataset: Dataset, rows: Rows) -> Floats:
        """Return the baseline that any model must beat: (n, *output_shape). It reads inputs in batches."""

    def baselines(self, dataset: Dataset, rows: Rows) -> Mapping[str, Floats]:
        """Return further baselines for the report: name -> (n, *output_shape)."""
        return {}

    @abstractmethod
    def score(self, output: Floats, target: NDArray[Any]) -> Score:
        """Return the errors of `output` (n, *output_shape) against `target`."""

    @property
    def calibrated_by(self) -> tuple[str, ...]:
        """Return the names of metrics that tell how far outputs can be believed, such as a band's coverage."""
        return ()

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """Return the names of all metrics that `score` and `beside` can give; None: they are not told."""
        return None

    def correction(self, dataset: Dataset, rows: Rows, output: Floats) -> Correction | None:
        """Return what calibrates a model with these outputs of validation rows; None: the options ask for nothing."""
        return None

    def beside(self, dataset: Dataset, rows: Rows, output: Floats) -> Mapping[str, float]:
        """Return further metrics for people, which need more than outputs and targets."""
        return {}

    def named(self, dataset: Dataset, rows: Rows, output: Floats) -> NDArray[np.int64] | None:
        """Return (n, places) what outputs of these rows name, -1 for none; None where an output is no list."""
        return None

    @abstractmethod
    def ensemble(self, outputs: Iterable[Floats], weights: Sequence[float] | None = None) -> Floats:
        """Combine several models' outputs into one, of equal shape; `weights` sum to 1, None: equal ones.

        A row of it depends on the same row of each alone.
        """

    @abstractmethod
    def corrupt(self, kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
        """Return inputs under a declared disturbance, for the robustness gate, which calls this batch by batch.

        Raises ConfigError on an unknown kind.
        """

    def disturbed(self, dataset: Dataset, rows: Rows, kind: str, level: float, seed: int) -> Inputs:
        """Return the inputs of some rows under a declared disturbance: `corrupt`, unless raw rows tell more.

        Raises ConfigError on an unknown kind.
        """
        return self.corrupt(kind, level, dataset.inputs(rows), seed)

    def recent(self, tables: Tables, as_of: date, contract: FeatureContract) -> Tables:
        """Return the raw rows that predictions on `as_of` can depend on, and all later ones: what came of them.

        These are all rows, unless the problem knows better.
        """
        return tables

    def spared(self, tables: dict[str, pl.DataFrame], contract: FeatureContract) -> dict[str, pl.DataFrame]:
        """Return a night's checked tables without values that the options let be bad; `predict` leaves out their rows.

        A table that is sent to the service is not spared: whoever sent it is told.
        """
        return tables

    def require_fit(self, tables: Tables, contract: FeatureContract, most: int) -> None:  # noqa: B027 most hold nothing
        """Raise RuleError when `predict` would hold more than `most` bytes for anything but the model's rows."""

    @abstractmethod
    def predict(self, tables: Tables, as_of: date, contract: FeatureContract, model: Predict) -> pl.DataFrame:
        """Score raw tables with a released model, through the same feature code as training."""

    def last_day(self, as_of: date) -> date:
        """Return the last day that predictions made on `as_of` are about."""
        return as_of

    def truth_by(self, as_of: date, days: int) -> date:
        """Return the day by which the predictions of each evening since `as_of` are about `days` days at least."""
        return self.last_day(as_of) + timedelta(days=days)

    def naive_predictions(self, since: Since, contract: FeatureContract) -> pl.DataFrame:
        """Return what the baseline says on `since.as_of`, in the columns of `predict`, from what is known by now."""
        raise _unwatched(self.kind)

    def outcomes(self, predictions: pl.DataFrame, since: Since, contract: FeatureContract) -> Outcomes:
        """Join kept predictions, in the columns of `predict`, with the truth that has come since.

        Raises ConfigError where the options do not let a prediction be known again.
        """
        raise _unwatched(self.kind)

    @abstractmethod
    def examples(self, dataset: Dataset, rows: Rows, outputs: Mapping[str, Floats], count: int) -> list[Example]:
        """Return a few telling pictures; `outputs`: name -> (len(rows), *output_shape)."""


def _unwatched(kind: str) -> ConfigError:
    return ConfigError(f"problem.kind: {kind} does not say what came of its predictions, so they cannot be watched")
