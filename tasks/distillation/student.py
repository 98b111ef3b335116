"""A student is trained on the truth and on the knowledge of its teachers, or of an assistant between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tasks.core.errors import ConfigError
from tasks.distillation.adaptive import Balance, Correctness, Gap, Learned
from tasks.distillation.checkpoint import Checkpoint
from tasks.distillation.knowledge import Knowledge
from tasks.distillation.objective import Aligned, Made, Objective, Teaching
from tasks.distillation.options import Student, Training
from tasks.distillation.parts import feature_teacher, parts_of
from tasks.distillation.processes import NORMS
from tasks.distillation.start import start_from
from tasks.distillation.teacher import assign_folds, teach
from tasks.distillation.trainer import AfterStep, History, Progress, TrainingData, train
from tasks.distillation.trust import correctness, trust
from tasks.problems.base import Dataset, Floats, Problem, Synthesis
from tasks.problems.blocks.features import Featured, Shown, shows
from tasks.problems.models import build_model

Features = Mapping[str, NDArray[np.float16]]


@dataclass(frozen=True)
class Distilled:
    """Distilled is a trained student.

    `assistant`: the assistant's soft targets (all rows, *output_shape), which took the teachers' place; or None.
    """

    model: nn.Module
    history: History
    assistant: Floats | None = None


def distil(  # noqa: PLR0913 named arguments
    dataset: Dataset,
    problem: Problem,
    student: Student,
    knowledge: Knowledge,
    *,
    folds: int,
    seed: int,
    checkpoint: Callable[[str], Checkpoint | None],
    progress: Callable[[str], Progress],
    again: History | None = None,
) -> Distilled:
    """Train the student; `checkpoint(part)` and `progress(part)` are for it and for each fold of its assistant.

    `again`: how it was trained before, on fewer rows; it ends where that did.

    An assistant learns from the teachers as the student would, by the teachers' folds, so that its labels are
    out-of-fold too, and the student learns from it (Mirzadeh et al. 2020, arXiv:1902.03393). Raises ConfigError.
    """
    soft: Floats | None = None
    assistant: Floats | None = None
    made: Made | None = None
    fold_of = assign_folds(dataset.groups, folds, seed)

    def objective(model: nn.Module) -> Objective:
        return _objective(dataset, problem, student, soft, model, knowledge.shown, fold_of, made)

    if student.distilled:
        soft = knowledge.ensemble(problem, dataset)
        made = make_rows(dataset, problem, student, knowledge, seed)
        if student.assistant is not None:
            soft = assistant = teach(
                dataset,
                problem,
                student.assistant,
                folds=folds,
                seed=seed,
                objective=objective,
                checkpoint=lambda fold: checkpoint(f"assistant-{fold}"),
                progress=lambda fold: progress(f"assistant fold {fold + 1}/{folds}"),
            ).soft
    torch.manual_seed(seed)  # an assistant must not change the first weights, by which students are compared
    model = build_model(student.model, dataset.contract)
    if student.distilled and student.start_from is not None:
        chosen = student.start_from
        if chosen.teacher not in knowledge.weights:
            name = chosen.teacher
            raise ConfigError(f"start_from: no weights of {name}; set keep: [weights] for teachers.{name}")
        start_from(model, knowledge.weights[chosen.teacher].read_bytes(), chosen.layers, chosen.gate)
    history = train(
        model,
        training_data(dataset, problem),
        objective(model),
        student.training,
        seed=seed,
        checkpoint=checkpoint("state"),
        progress=progress("student"),
        ends=None if again is None else again.best + 1,
    )
    return Distilled(model, history, assistant)


def make_rows(dataset: Dataset, problem: Problem, student: Student, knowledge: Knowledge, seed: int) -> Made | None:
    """Return the rows that the student's section wants made, labelled by the teachers; None if it wants none."""
    synthesis: Synthesis | None = parts_of(problem, student).synthesis
    if synthesis is None:
        return None
    inputs, parents = synthesis.make(dataset, np.random.default_rng(seed))
    return Made(inputs, knowledge.label(problem, dataset, inputs), parents, synthesis.share)


def training_data(dataset: Dataset, problem: Problem) -> TrainingData:
    """Return all training rows, with early stopping by the problem's error on the validation rows."""
    splits = dataset.splits
    return TrainingData(
        dataset, splits["train"], splits["valid"], lambda output, target: problem.score(output, target).error
    )


def fine_tuning_objective(
    dataset: Dataset, problem: Problem, student: Student, soft: Floats | None, made: Made | None = None
) -> Objective:
    """Return the student's own objective for a network that is trained further, such as a pruned one.

    `soft` (all rows, *output_shape) and `made`: what the student learned from, not needed by the twin. alpha is the one
    that its schedule ends with; learned weights begin there anew. Terms on features are left out: pruning changes the
    features, and the projectors are gone.
    """
    return _objective(dataset, problem, student.model_copy(update={"schedule": None}), soft, made=made)


def fine_tuning(
    dataset: Dataset,
    problem: Problem,
    training: Training,
    objective: Callable[[], Objective],
    seed: int,
    again: Sequence[int] = (),
) -> Callable[..., int]:
    """Return a further training of (model, epochs, factor of the learning rate, what to do after each step).

    Training that does not improve on a step's model is undone, unless the step goes on while it trains. What it returns
    says after how many epochs the kept weights were, 0 if it was undone. `again`: that of each training before, on
    fewer rows, in their order; it ends where that did.

    Muon keeps the norms of filters, so it trains none without a normalisation behind them: a step may have folded that.
    """
    before = iter(again)

    def tune(model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None) -> int:
        ends = next(before, None)
        if ends == 0:
            return 0
        changed: dict[str, Any] = {"epochs": epochs}
        if not any(isinstance(module, NORMS) for module in model.modules()):
            changed["muon"] = None
        history = train(
            model,
            training_data(dataset, problem),
            objective(),
            training.slower(learning_rate_factor).model_copy(update=changed),
            seed=seed,
            after_step=after_step,
            only_better=after_step is None,
            ends=ends,
        )
        return history.best + 1

    return tune


def _objective(
    dataset: Dataset,
    problem: Problem,
    student: Student,
    soft: Floats | None,
    model: nn.Module | None = None,
    shown: Mapping[Shown, Features] | None = None,
    fold_of: NDArray[np.int64] | None = None,
    made: Made | None = None,
) -> Objective:
    """Return the student's objective. Without `shown` there are no terms on them."""
    contract, parts = dataset.contract, parts_of(problem, student)
    teaching = None
    if student.distilled and soft is not None:
        aligned = []
        if model is not None and shown is not None and fold_of is not None:
            for weight, term in parts.aligned:
                features = shown.get(term.of, {})
                values = features[feature_teacher(term, features)]
                if not isinstance(model, Featured) or not shows(model, term.of):
                    raise ConfigError(f"terms: a {type(model).__name__} has no {term.of} to align; leave them out")
                built = term.build(model.feature_width, values.shape[1], int(fold_of.max()) + 1)
                aligned.append(Aligned(weight, built, values, fold_of, term.of))
        trusted = trust(dataset, problem, soft) if student.attenuate else None
        if isinstance(parts.adapt, Correctness):
            trusted = correctness(dataset, problem, soft)
        if parts.losses or aligned:
            teaching = Teaching(
                soft,
                lambda done: parts.schedule.alpha(student.alpha, done) if parts.schedule else student.alpha,
                [(weight, loss.bind(contract)) for weight, loss in parts.losses],
                trusted,
                aligned,
                made,
                by_gap=isinstance(parts.adapt, Gap),
                balance=Balance(student.alpha) if isinstance(parts.adapt, Learned) else None,
            )
    settings = student.model_dump_json(exclude={"model", "training", "assistant", "start_from"})
    return Objective(dataset, problem.hard_loss(contract), teaching, augment=parts.augment, settings=settings)
