"""Typed, frozen configuration: `params.yaml` (all workloads) and `run.yaml` (one workload on one night).

`params.yaml` is what people edit. `run.yaml` is what the stages read: the section of one workload, plus what varies
by night (`as_of`, the champion that evaluation compares with). DVC tracks parts of `run.yaml`, so nothing that must
not enter a lock (run_id, clock time) may stand in it.
"""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.errors import ConfigError
from tasks.resources import Resources

PARAMS_FILE = "params.yaml"
RUN_FILE = "run.yaml"

Kind = TypeVar("Kind", bound="Frozen")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class _Yaml(yaml.SafeLoader):
    """Reads numbers by YAML 1.2, as DVC does: 1e-05 is a number. For PyYAML alone, which follows 1.1, it is a text."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str | bytes) -> Any:
    """The document as plain values. Raises yaml.YAMLError."""
    return yaml.load(text, _Yaml)  # noqa: S506 a safe loader


class Frozen(BaseModel):
    """Base of every configuration model: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Spec(BaseModel):
    """A component picked by `kind`; its other keys are validated by the component itself."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Every key but `kind`."""
        return dict(self.model_extra or {})


def pick(spec: Spec, kinds: Mapping[str, type[Kind]], field: str) -> Kind:
    """The component of `spec.kind`, made of the other keys. Raises ConfigError naming the field."""
    if spec.kind not in kinds:
        raise ConfigError(f"{field}.kind: unknown kind {spec.kind!r}; there are: {', '.join(kinds) or 'none'}")
    try:
        return kinds[spec.kind].model_validate(spec.options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([field, *map(str, first["loc"])])
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where} of kind {spec.kind}: {reason}, got {first['input']!r:.80}") from error


class Training(Frozen):
    """How one network is trained. `patience` counts epochs without a better validation error."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    batches_per_epoch: int | None = Field(default=None, gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    patience: int = Field(default=5, gt=0)


class Teacher(Frozen):
    """One member of the teacher ensemble. `training`: of a network; trees fit themselves.

    `keep`: what students may ask of it beyond its outputs.
    """

    model: Spec
    training: Training | None = None
    keep: tuple[Literal["features", "weights"], ...] = ()


class Term(Spec):
    """A further soft loss, added with its `weight`."""

    weight: float = Field(default=1.0, gt=0)


class Assistant(Frozen):
    """A network of a size between teacher and student."""

    model: Spec
    training: Training


class StartFrom(Frozen):
    """First weights from `teacher`; `layers`: student's layer -> teacher's (by prefix); none: layers of equal names."""

    teacher: Name
    layers: dict[str, str] = {}


class Student(Frozen):
    """A student. `alpha` weighs the hard loss, `1 - alpha` the soft one with its `terms`.

    `alpha: 1` is the twin: it learns from the truth alone, and what concerns the teacher is not used, so that the twin
    may repeat the student's section. docs/distillation.md explains every field.
    """

    model: Spec
    training: Training
    alpha: float = Field(ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    soft: Spec | None = Field(default=None, description="None: the problem's own")
    terms: tuple[Term, ...] = ()
    schedule: Spec | None = Field(default=None, description="None: alpha is constant")
    attenuate: bool = False
    assistant: Assistant | None = None
    start_from: StartFrom | None = None
    augment: Spec | None = None

    @field_validator("start_from", mode="before")
    @classmethod
    def _teacher_alone(cls, value: Any) -> Any:
        return {"teacher": value} if isinstance(value, str) else value

    @property
    def distilled(self) -> bool:
        """Whether it learns from the teacher at all: the twin does not."""
        return self.alpha < 1


class Limits(Frozen):
    """The most that a searched candidate may measure; what is left out does not bind.

    `error` and `retention` (a ratio to the student's error before compression) are on the validation split,
    `latency_ratio` is p50 to the reference model's, `parity` the mean difference to torch relative to the mean output.
    """

    error: float | None = Field(default=None, gt=0)
    retention: float | None = Field(default=None, gt=0)
    bytes: int | None = Field(default=None, gt=0)
    parameters: int | None = Field(default=None, gt=0)
    latency_ratio: float | None = Field(default=None, gt=0)
    parity: float | None = Field(default=None, gt=0)


class Search(Frozen):
    """Looks for the steps that minimise one number within limits, by `trials` trials drawn from `space`.

    `space`: a step's kind and options, where two numbers are a range and another list is a choice, or `kind: numbers`
    with `choices` of number formats; empty for the default. `minutes`: a ceiling, kept below the stage's own time
    limit; a result that it cuts off depends on the clock. `seed`: None for the workload's. `batch`: rows a call when
    latency is measured. Of `reduction` trials about one is trained further.
    """

    limits: Limits
    minimise: Literal["bytes", "latency", "error"] = "bytes"
    trials: int = Field(default=30, gt=0, le=1000)
    minutes: float = Field(default=10, gt=0, le=25)
    space: tuple[Spec, ...] = ()
    seed: int | None = Field(default=None, ge=0)
    batch: int = Field(default=1, gt=0)
    reduction: int = Field(default=3, ge=2)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        """Without a limit on the other side the best candidate would be the worst model, or no compression at all."""
        limits = self.limits
        if self.minimise == "error":
            if limits.bytes is None and limits.parameters is None and limits.latency_ratio is None:
                raise ValueError("limits: minimise: error needs a limit on bytes, parameters or latency_ratio")
        elif limits.error is None and limits.retention is None:
            raise ValueError(f"limits: minimise: {self.minimise} needs a limit on error or retention")
        return self


class Recipe(Frozen):
    """A chain of compression steps, applied in order, or a search for one."""

    steps: tuple[Spec, ...] = ()
    search: Search | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.steps and self.search:
            raise ValueError("steps: a recipe has either steps or a search; remove one of them")
        return self


class AccuracyGate(Frozen):
    """`limit`: absolute error; `naive_margin` and `retention` are ratios; `champion_margin` is relative.

    `max_gain`: the share of the error of the better of naive baseline and champion that a candidate can honestly save;
    one that saves more has probably seen the future. 1 allows all.
    """

    limit: float = Field(gt=0)
    naive_margin: float = Field(ge=0, lt=1, description="error must be <= (1 - naive_margin) * naive error")
    retention: float = Field(gt=0, description="error must be <= teacher error * retention")
    champion_margin: float = Field(ge=0, description="upper bound of the relative difference to the champion")
    max_gain: float = Field(default=0.8, gt=0, le=1, description="error must be >= (1 - max_gain) * the better error")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100)


class SegmentGate(Frozen):
    """No segment of `by` with at least `min_rows` rows may be worse than the champion by more than `limit`."""

    by: tuple[str, ...]
    limit: float = Field(ge=0)
    min_rows: int = Field(default=50, gt=0)


class SizeGate(Frozen):
    """Bytes of the released ONNX file."""

    max_bytes: int = Field(gt=0)


class LatencyGate(Frozen):
    """Ratios of the candidate's latency to the reference model's, measured interleaved at `batch` rows.

    `rounds` are measured at least, up to ten times as many while noise leaves it open whether a limit is kept.
    """

    batch: int = Field(default=1, gt=0)
    threads: int = Field(default=1, gt=0)
    rounds: int = Field(default=30, ge=10)
    max_p50_ratio: float = Field(gt=0)
    max_p95_ratio: float = Field(gt=0)


class ParityGate(Frozen):
    """Largest mean absolute difference of ONNX and torch outputs, relative to the mean absolute torch output."""

    tolerance: float = Field(gt=0)


class Corruption(Frozen):
    """A declared disturbance of the evaluation inputs; `limit` is the allowed error ratio to the clean error."""

    kind: str
    level: float
    limit: float = Field(gt=0)


class DriftGate(Frozen):
    """`max_psi`: largest population stability index of an input against the champion's snapshot; None gates nothing."""

    max_psi: float | None = Field(default=None, gt=0)


class Gates(Frozen):
    """All rules that a candidate must pass."""

    accuracy: AccuracyGate
    segments: SegmentGate
    size: SizeGate
    latency: LatencyGate
    parity: ParityGate
    robustness: tuple[Corruption, ...] = ()
    drift: DriftGate = DriftGate()
    selection_tolerance: float = Field(
        default=0.005, ge=0, description="a smaller file may have this much more validation error than the best"
    )


class Checks(BaseModel):
    """Thresholds of the data checks; the problem's own keys are validated by the problem."""

    model_config = ConfigDict(frozen=True, extra="allow")

    max_stale_days: int = Field(default=0, ge=0)
    max_volume_ratio: float = Field(default=3.0, gt=1)


class Workload(Frozen):
    """One section of params.yaml."""

    title: str
    description: str = ""
    owner: str = "ml-platform"
    schedule: str
    timezone: str = "UTC"
    deadline_minutes: int = Field(default=240, gt=0)
    seed: int = 7
    threads: int = Field(default=1, gt=0)
    folds: int = Field(default=3, ge=2)
    source: Spec
    problem: Spec
    checks: Checks = Checks()
    teachers: dict[Name, Teacher] = Field(min_length=1)
    ensemble: Literal["mean", "validation"] = Field(default="mean", description="how the teachers are weighed")
    students: dict[Name, Student] = Field(min_length=1)
    recipes: dict[Name, Recipe] = Field(min_length=1)
    gates: Gates
    runner: Literal["process", "docker", "kubernetes"] | None = Field(default=None, description="None: the setting's")
    resources: dict[str, dict[str, Any]] = {}

    @field_validator("resources")
    @classmethod
    def _resources(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        Resources(value)
        return value


class Run(Workload):
    """run.yaml: a workload's section and what varies by night.

    `champion` is the sequence number of the ledger's last entry (0: none): the entry that evaluation compares
    with and that promotion is fenced against.
    """

    workload: Name
    as_of: date
    champion: int = Field(ge=0)
    dry_run: bool = False

    def section(self) -> Workload:
        """The workload's part alone."""
        return Workload.model_validate(self.model_dump(exclude={"workload", "as_of", "champion", "dry_run"}))

    def to_yaml(self) -> str:
        """Canonical text: equal runs give equal bytes."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=True, allow_unicode=True)


def _explain(origin: str, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ConfigError(f"{origin}: {field}: {first['msg']}, got {first['input']!r:.80}{more}")


def _read(text: str, origin: str) -> Mapping[str, Any]:
    try:
        data = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{origin}: expected a mapping at the top level")
    return data


def load_workloads(path: Path) -> dict[str, Workload]:
    """All workloads of a params.yaml, by name.

    Raises ConfigError naming the file, the field and what is wrong with it.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; run from the project's folder or name it with --params")
    sections = _read(path.read_text(), str(path)).get("workloads")
    if not isinstance(sections, Mapping) or not sections:
        raise ConfigError(f"{path}: workloads: expected at least one section")
    result = {}
    for name, section in sections.items():
        try:
            result[str(name)] = Workload.model_validate(section)
        except ValidationError as error:
            raise _explain(f"{path}: workloads.{name}", error) from error
    return result


def load_workload(path: Path, name: str) -> Workload:
    """One workload. Raises ConfigError if there is none of that name."""
    workloads = load_workloads(path)
    if name not in workloads:
        raise ConfigError(f"{path}: no workload {name!r}; there are: {', '.join(sorted(workloads))}")
    return workloads[name]


def parse_run(text: str, origin: str = RUN_FILE) -> Run:
    """Validate a run.yaml. Raises ConfigError."""
    try:
        return Run.model_validate(_read(text, origin))
    except ValidationError as error:
        raise _explain(origin, error) from error
