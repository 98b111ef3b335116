"""What a report page can say about a run: plain values, every part optional, no files and no HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from tasks.reporting.drift import DriftTable

Number = float | None
Outcome = Literal["promoted", "rejected", "unchanged", "superseded", "held", "dry-run", "stopped"]


@dataclass(frozen=True)
class Headline:
    """How the run ended, in one line. `stage`: where it stopped, for the outcome `stopped` alone."""

    outcome: Outcome
    reason: str = ""
    stage: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """One model of the run. `role`: candidate, teacher, champion, naive, student or twin.

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
    """One gate's judgement of one measured number."""

    gate: str
    rule: str
    observed: Number
    limit: Number
    passed: bool
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Relative difference of the candidate's error to an opponent's, with its interval; negative is better."""

    difference: Number
    low: Number
    high: Number
    confidence: Number


@dataclass(frozen=True)
class GateTable:
    """All rules for one candidate."""

    candidate: str
    rules: tuple[Rule, ...]
    winner: bool = False

    @property
    def failed(self) -> tuple[Rule, ...]:
        """The rules that the candidate breaks."""
        return tuple(rule for rule in self.rules if not rule.passed)


@dataclass(frozen=True)
class Picture:
    """A forecast against what happened; `past` precedes `actual`, all other sequences have its length.

    `labels`: dates, or classes where the problem has no time axis.
    """

    title: str
    labels: tuple[str, ...]
    past: tuple[Number, ...]
    actual: tuple[Number, ...]
    curves: Mapping[str, tuple[Number, ...]]
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()


@dataclass(frozen=True)
class Fold:
    """One training: loss and validation error by epoch. `best`: index of the epoch whose weights were kept."""

    train: tuple[Number, ...]
    valid: tuple[Number, ...]
    best: int | None = None


@dataclass(frozen=True)
class LossCurve:
    """All trainings of one network; students have one fold."""

    name: str
    folds: tuple[Fold, ...]


@dataclass(frozen=True)
class Student:
    """A student or the twin on the validation split. `chosen`: it went on to the recipes."""

    name: str
    error: Number
    alpha: float
    chosen: bool = False


@dataclass(frozen=True)
class Step:
    """A compression step's effect: validation error, bytes and latency at one row after it."""

    step: str
    error: Number
    size: Number
    p50_us: Number = None


@dataclass(frozen=True)
class Compression:
    """What a recipe did to the student. `parity`: relative difference of ONNX and torch outputs."""

    recipe: str
    steps: tuple[Step, ...]
    nonzero: Number = None
    parameters: Number = None
    parity: Number = None


@dataclass(frozen=True)
class Trial:
    """One trial of a search. `numbers`: number format; `latency`: p50 as a ratio to the reference model's."""

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
    """How a recipe was searched. `limits`: by quantity (error, bytes…); `reason`: why nothing was chosen."""

    recipe: str
    minimise: str
    limits: Mapping[str, float]
    trials: tuple[Trial, ...]
    chosen: int | None = None
    reason: str = ""

    @property
    def formats(self) -> tuple[str, ...]:
        """The number formats that were tried, float32 first."""
        return tuple(sorted({trial.numbers for trial in self.trials}, key=lambda name: (name != "none", name)))


@dataclass(frozen=True)
class Check:
    """One expectation on the snapshot. `count`: rows that break it; `sample`: a few of them."""

    column: str
    rule: str
    expected: str
    observed: str
    success: bool
    count: int = 0
    sample: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Segment:
    """Errors within one value of a segment column. `change`: relative difference to the champion."""

    column: str
    value: str
    rows: Number
    error: Number
    champion: Number = None
    change: Number = None
    passed: bool = True


@dataclass(frozen=True)
class LatencyRow:
    """Microseconds a call of `model` at `batch` rows. The ratios are to a reference model, measured interleaved."""

    model: str
    batch: Number
    p50_us: Number
    p95_us: Number
    ratio_p50: Number = None
    ratio_p95: Number = None


@dataclass(frozen=True)
class StageRecord:
    """How one stage of the run went. `status`: done, reused, partial, failed or missing."""

    stage: str
    status: str
    seconds: Number = None
    memory_mb: Number = None
    note: str = ""


@dataclass(frozen=True)
class ReportFacts:
    """A run as far as it came. Empty parts are left out of the page.

    `champion`: the ledger entry that was champion when the run was planned, 0 for none. `band`: share of outcomes that
    should lie between `low` and `high` of the pictures.
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
    lineage: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[StageRecord, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def chosen(self) -> ModelFacts | None:
        """The candidate that the page is about: the winner, or the first in order of choice that could be run."""
        runnable = [model for model in self.models if model.role == "candidate" and model.error is not None]
        return next((model for model in runnable if model.winner), next(iter(runnable), None))

    @property
    def on_pareto(self) -> tuple[ModelFacts, ...]:
        """What competes in error and bytes; students are left out, since a recipe exports them unchanged."""
        return tuple(model for model in self.models if model.role in ("candidate", "teacher", "champion"))

    def opponent(self, role: str) -> ModelFacts | None:
        """The first model of a role, such as the teachers' ensemble."""
        return next((model for model in self.models if model.role == role), None)
