"""This module defines the facts of a report page: plain values, every part optional, no files and no HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from tasks.reporting.drift import DriftTable

Number = float | None
Outcome = Literal["promoted", "rejected", "unchanged", "superseded", "held", "dry-run", "stopped"]


@dataclass(frozen=True)
class Headline:
    """A headline tells in one line how the run ended. `stage`: where it stopped, for the outcome `stopped` alone."""

    outcome: Outcome
    reason: str = ""
    stage: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """These facts describe one model. `role`: candidate, teacher, champion, naive, student or twin.

    `error`: primary metric on the evaluation set; `p50_us`/`p95_us`: microseconds a call.
    """

    name: str
    role: str
    error: Number = None
    size: Number = None
    parameters: Number = None
    p50_us: Number = None
    p95_us: Number = None
    metrics: Mapping[str, Number] = field(default_factory=dict)
    winner: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule is one gate's judgement of one measured number."""

    gate: str
    rule: str
    observed: Number
    limit: Number
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """A comparison is the candidate's error relative to an opponent's, with its interval; negative is better."""

    difference: Number
    low: Number
    high: Number
    confidence: Number


@dataclass(frozen=True)
class GateTable:
    """A gate table holds all rules for one candidate."""

    candidate: str
    rules: tuple[Rule, ...]
    winner: bool = False

    @property
    def failed(self) -> tuple[Rule, ...]:
        """Return the rules that the candidate breaks."""
        return tuple(rule for rule in self.rules if not rule.passed)


@dataclass(frozen=True)
class Picture:
    """A picture shows a forecast and its outcome; `past` precedes `actual`, all other sequences have its length.

    `labels`: dates, or classes where the problem has no time axis. `cells`, `images`: of a table of counts, a gallery.
    """

    title: str
    labels: tuple[str, ...]
    past: tuple[Number, ...]
    actual: tuple[Number, ...]
    curves: Mapping[str, tuple[Number, ...]]
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()
    cells: tuple[tuple[Number, ...], ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """A fold is one training: loss and validation error by epoch. `best`: index of the epoch with the kept weights."""

    train: tuple[Number, ...]
    valid: tuple[Number, ...]
    best: int | None = None


@dataclass(frozen=True)
class LossCurve:
    """A loss curve holds all trainings of one network; students have one fold."""

    name: str
    folds: tuple[Fold, ...]


@dataclass(frozen=True)
class Student:
    """This is a student or the twin on the validation split. `chosen`: it went on to the recipes."""

    name: str
    error: Number
    alpha: float
    chosen: bool = False


@dataclass(frozen=True)
class Step:
    """A step is one of compression: validation error, bytes and latency at one row after it."""

    step: str
    error: Number
    size: Number
    p50_us: Number = None


@dataclass(frozen=True)
class Compression:
    """A compression is a recipe's effect on the student. `parity`: relative difference of ONNX and torch outputs."""

    recipe: str
    steps: tuple[Step, ...]
    nonzero: Number = None
    parameters: Number = None
    parity: Number = None


@dataclass(frozen=True)
class Trial:
    """A trial is one of a search. `numbers`: number format; `latency`: p50 as a ratio to the reference model's."""

    number: int
    steps: str
    numbers: str
    error: Number
    size: Number
    epochs: int
    feasible: bool
    pruned: bool
    latency: Number = None


@dataclass(frozen=True)
class Search:
    """This tells how a recipe was searched. `limits`: by quantity (error, bytes…); `reason`: why none was chosen."""

    recipe: str
    minimise: str
    limits: Mapping[str, float]
    trials: tuple[Trial, ...]
    chosen: int | None = None
    reason: str = ""

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the number formats that were tried, float32 first."""
        return tuple(sorted({trial.numbers for trial in self.trials}, key=lambda name: (name != "none", name)))


@dataclass(frozen=True)
class Check:
    """A check is one expectation on the snapshot. `count`: rows that break it; `sample`: a few of them."""

    column: str
    rule: str
    expected: str
    observed: str
    success: bool
    count: int = 0
    sample: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Segment:
    """A segment has the errors within one value of a segment column. `change`: relative difference to the champion."""

    column: str
    value: str
    rows: Number
    error: Number
    champion: Number = None
    change: Number = None
    passed: bool = True


@dataclass(frozen=True)
class LatencyRow:
    """A row holds microseconds a call of `model` at `batch` rows. Ratios are to a reference, measured interleaved."""

    model: str
    batch: Number
    p50_us: Number
    p95_us: Number
    ratio_p50: Number = None
    ratio_p95: Number = None


@dataclass(frozen=True)
class StageRecord:
    """A record tells how one stage of the run went. `status`: done, reused, partial, failed or missing.

    `energy`: whether `joules` were measured or are estimated; empty where they are not known.
    """

    stage: str
    status: str
    seconds: Number = None
    memory_mb: Number = None
    joules: Number = None
    energy: str = ""
    note: str = ""


@dataclass(frozen=True)
class ReportFacts:
    """These facts describe a run as far as it came. Empty parts are left out of the page.

    `champion`: the ledger entry that was champion when the run was planned, 0 for none. `band`: share of outcomes that
    should lie between `low` and `high` of the pictures. `joules`: of a thousand predictions, by candidate, teacher and
    champion; estimated.
    """

    workload: str
    title: str
    as_of: date
    headline: Headline
    description: str = ""
    owner: str = ""
    run_id: str = ""
    release: int | None = None
    champion: int = 0
    metric: str = "error"
    models: tuple[ModelFacts, ...] = ()
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    gates: tuple[GateTable, ...] = ()
    pictures: tuple[Picture, ...] = ()
    band: str = ""
    losses: tuple[LossCurve, ...] = ()
    students: tuple[Student, ...] = ()
    compression: tuple[Compression, ...] = ()
    searches: tuple[Search, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    data_notes: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    segments: tuple[Segment, ...] = ()
    drift: DriftTable | None = None
    latency: tuple[LatencyRow, ...] = ()
    latency_note: str = ""
    joules: Mapping[str, float] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[StageRecord, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def chosen(self) -> ModelFacts | None:
        """Return the page's candidate: the winner, or the first in order of choice that could be run."""
        runnable = [model for model in self.models if model.role == "candidate" and model.error is not None]
        return next((model for model in runnable if model.winner), next(iter(runnable), None))

    @property
    def on_pareto(self) -> tuple[ModelFacts, ...]:
        """Return the models that compete in error and bytes, without students: a recipe exports them unchanged."""
        return tuple(model for model in self.models if model.role in ("candidate", "teacher", "champion"))

    def opponent(self, role: str) -> ModelFacts | None:
        """Return the first model of a role, such as the teachers' ensemble."""
        return next((model for model in self.models if model.role == role), None)
