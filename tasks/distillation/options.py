"""This module defines the teachers and students in a workload."""

from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.core.config import Frozen, Name, Spec


def _alone(count: int) -> bool:
    """Return whether it is left out of files: those of before say the same."""
    return count == 1


class Training(Frozen):
    """Training defines how one network is trained. `patience` counts epochs without a better validation error.

    `precision`: of products and convolutions on a processor, in training and where its rows are labelled; weights,
    losses and files stay float32. `muon`: the learning rate of filters, which Muon trains then; all else has AdamW's.
    """

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    batches_per_epoch: int | None = Field(default=None, gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    patience: int = Field(default=5, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    muon: float | None = Field(default=None, gt=0, exclude_if=lambda rate: rate is None)

    @property
    def narrow(self) -> bool:
        """Return whether a processor computes in bfloat16."""
        return self.precision == "bfloat16"

    def slower(self, factor: float) -> Self:
        """Return the same with learning rates that are multiplied by `factor`."""
        rates = {"learning_rate": self.learning_rate * factor}
        return self.model_copy(update=rates | ({} if self.muon is None else {"muon": self.muon * factor}))


class Teacher(Frozen):
    """A Teacher is one member of the teacher ensemble. `training`: of a network; trees fit themselves.

    `keep`: what students may ask of it beyond its outputs. `augment`: how a network's training rows are changed.
    `processes`: how many train it on each of `nodes` machines; a workload says so in `resources`, and run.yaml here,
    where its lock sees it.
    `every`: days, such as `30d`, for which it is kept once it is trained; None: it is trained every night.
    `until_drift`: the population stability index of an input, tonight's against that of the kept one's data, above
    which it is trained with tonight's rows all the same; None: whatever the data do.
    """

    model: Spec
    training: Training | None = None
    keep: tuple[Literal["features", "attention", "maps", "weights"], ...] = ()
    augment: Spec | None = None
    processes: int = Field(default=1, gt=0, exclude_if=_alone)
    nodes: int = Field(default=1, gt=0, exclude_if=_alone)
    every: str | None = Field(default=None, pattern=r"^[1-9][0-9]{0,2}d$", exclude_if=lambda days: days is None)
    until_drift: float | None = Field(default=None, gt=0, exclude_if=lambda limit: limit is None)

    @model_validator(mode="after")
    def _kept_until(self) -> Self:
        if self.until_drift is not None and self.every is None:
            raise ValueError("until_drift: it ends a period early, and there is none; set every, such as 30d")
        return self

    @property
    def world(self) -> int:
        """Return how many processes train it on all machines."""
        return self.processes * self.nodes

    def since(self, as_of: date) -> date | None:
        """Return the day whose data a kept teacher was trained with; None for one that is not kept.

        Periods are counted from one Monday on, the same for all workloads and whatever nights there are.
        """
        if self.every is None:
            return None
        days = int(self.every.removesuffix("d"))
        return date.fromordinal((as_of.toordinal() - 1) // days * days + 1)


class Term(Spec):
    """A Term is a further soft loss, added with its `weight`."""

    weight: float = Field(default=1.0, gt=0)


class Assistant(Frozen):
    """An Assistant is a network of a size between teacher and student."""

    model: Spec
    training: Training


class StartFrom(Frozen):
    """First weights come from `teacher`; `layers`: student's layer -> teacher's (by prefix); none: of equal names.

    `gate`: of an LSTM's, the one that a simple recurrent network starts as; `cell` computes what enters its state.
    """

    teacher: Name
    layers: dict[str, str] = Field(default_factory=dict)
    gate: Literal["input", "forget", "cell", "output"] | None = None


class Student(Frozen):
    """A Student learns from truth and teachers. `alpha` weighs the hard loss, `1 - alpha` the soft, with its `terms`.

    `alpha: 1` is the twin: it learns from the truth alone, and what concerns the teacher is not used, so that the twin
    may repeat the student's section. `adapt` lets both weights follow from the training. `processes`, `nodes`: as of a
    teacher. docs/distillation.md explains every field.
    """

    model: Spec
    training: Training
    alpha: float = Field(ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0)
    soft: Spec | None = Field(default=None, description="None: the problem's own")
    terms: tuple[Term, ...] = ()
    schedule: Spec | None = Field(default=None, description="None: alpha is constant")
    attenuate: bool = False
    adapt: Spec | None = Field(default=None, description="None: alpha as it is, or by its schedule")
    assistant: Assistant | None = None
    start_from: StartFrom | None = None
    augment: Spec | None = None
    processes: int = Field(default=1, gt=0, exclude_if=_alone)
    nodes: int = Field(default=1, gt=0, exclude_if=_alone)

    @field_validator("start_from", mode="before")
    @classmethod
    def _teacher_alone(cls, value: Any) -> Any:
        return {"teacher": value} if isinstance(value, str) else value

    @property
    def world(self) -> int:
        """Return how many processes train it on all machines."""
        return self.processes * self.nodes

    @property
    def distilled(self) -> bool:
        """Return whether it learns from the teacher at all: the twin does not."""
        return self.alpha < 1
