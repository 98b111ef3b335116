"""A teacher is trained by folds over groups: a training row's soft targets come from a model that never saw it."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.core.config import pick
from tasks.core.errors import ConfigError, DataError
from tasks.distillation.checkpoint import Checkpoint
from tasks.distillation.objective import Objective
from tasks.distillation.options import Assistant, Teacher
from tasks.distillation.trainer import History, Progress, TrainingData, features, predict, train
from tasks.problems.base import Augment, Dataset, Floats, Problem, Rows
from tasks.problems.blocks.features import Shown, shows
from tasks.problems.models import build_model

log = logging.getLogger(__name__)

ROWS_A_LINE = 50_000
"""The log has a line after so many labelled rows: of a large table, labelling by trees takes many minutes."""


@runtime_checkable
class SelfTrained(Protocol):
    """A SelfTrained model, such as boosted trees, does not fit the training loop of networks."""

    def fit(self, dataset: Dataset, train: Rows, valid: Rows, *, seed: int) -> list[float]:
        """Learn from `train`, stop early on `valid`; return validation losses, one for each part."""
        ...


@runtime_checkable
class FitsAgain(Protocol):
    """A FitsAgain model fits itself, and can do so without validation rows: it knows what these settled."""

    @property
    def settled(self) -> list[float]:
        """Return what validation rows settled, such as how many trees each output has."""
        ...

    def fit_again(self, dataset: Dataset, train: Rows, settled: Sequence[float], *, seed: int) -> None:
        """Learn from `train`, with what was settled before."""
        ...


@runtime_checkable
class Forest(Protocol):
    """A Forest holds what it learned in trees; parameters that it has besides are no weights to start from."""

    trees: nn.ModuleList


class Mean(nn.Module):
    """Mean averages several models' outputs: it makes one teacher of the fold models."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if uses := getattr(members[0], "uses", None):
            self.uses = uses

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.stack([member(*inputs) for member in self.members]).mean(dim=0)


@dataclass(frozen=True)
class Taught:
    """Taught is a trained teacher.

    `model`: mean of the fold models. `histories`: one a fold. `valid_error`: that of `model`.

    `soft` (all rows, *output_shape): out-of-fold for training rows (with one fold its model has seen them), the mean
    model's for validation rows, NaN for test rows, so that nobody can learn from them.
    """

    model: Mean
    soft: Floats
    histories: list[History]
    valid_error: float


def assign_folds(groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return (rows,) fold of each row: whole groups, shuffled by `seed`, dealt out in equal numbers.

    Raises DataError when there are fewer groups than folds.
    """
    names, position = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise DataError(f"folds: {folds} folds need at least as many groups, the data has {len(names)}")
    dealt = np.random.default_rng(seed).permutation(len(names)) % folds
    result: NDArray[np.int64] = dealt[position]
    return result


def fold_rows(train_rows: Rows, fold_of: NDArray[np.int64], fold: int) -> tuple[Rows, Rows]:
    """Return the training rows that fold model `fold` learns from, and those it labels; of one fold both are all."""
    if not fold_of.any():
        return train_rows, train_rows
    held_out = fold_of[train_rows] == fold
    return train_rows[~held_out], train_rows[held_out]


def teach(  # noqa: PLR0913 named arguments
    dataset: Dataset,
    problem: Problem,
    teacher: Teacher | Assistant,
    *,
    folds: int,
    seed: int,
    objective: Callable[[nn.Module], Objective] | None = None,
    checkpoint: Callable[[int], Checkpoint | None] | None = None,
    progress: Callable[[int], Progress] | None = None,
    again: Sequence[History] | None = None,
) -> Taught:
    """Train one model a fold, each with early stopping on the validation rows, and collect the soft targets.

    Networks by the training loop; models that fit themselves do so, without checkpoints.

    `objective(model)`: what each learns, the truth if not given. `checkpoint(fold)` and `progress(fold)` give each
    fold model its own. `again`: histories of folds that were trained before, which end where those did; then there
    need be no validation rows, and without any the error is NaN.
    """
    fold_of = assign_folds(dataset.groups, folds, seed)
    hard, augment = problem.hard_loss(dataset.contract), augmentation(problem, teacher)
    valid = dataset.splits["valid"]
    soft = np.full((len(dataset.groups), *dataset.contract.output_shape), np.nan, dtype=np.float32)
    members: list[nn.Module] = []
    histories: list[History] = []
    for fold in range(folds):
        learn, label = fold_rows(dataset.splits["train"], fold_of, fold)
        torch.manual_seed(seed + fold)
        model = build_model(teacher.model, dataset.contract)
        if again is not None and isinstance(model, FitsAgain):
            log.info(
                "fold %d/%d: a %s learns again, from %s rows", fold + 1, folds, teacher.model.kind, f"{len(learn):,}"
            )
            model.fit_again(dataset, learn, again[fold].settled, seed=seed + fold)
            history = History(settled=model.settled)
        elif isinstance(model, SelfTrained):
            log.info("fold %d/%d: a %s learns from %s rows", fold + 1, folds, teacher.model.kind, f"{len(learn):,}")
            history = History(valid=model.fit(dataset, learn, valid, seed=seed + fold))
            history.settled = model.settled if isinstance(model, FitsAgain) else []
        elif teacher.training is None:
            raise ConfigError(f"teachers: a {teacher.model.kind} is a network; say in `training` how it is trained")
        else:
            history = train(
                model,
                TrainingData(dataset, learn, valid, lambda output, target: problem.score(output, target).error),
                objective(model) if objective else Objective(dataset, hard, augment=augment),
                teacher.training,
                seed=seed + fold,
                checkpoint=checkpoint(fold) if checkpoint else None,
                progress=progress(fold) if progress else None,
                ends=None if again is None else again[fold].best + 1,
            )
        narrow = teacher.training is not None and teacher.training.narrow
        said = _labelled(f"fold {fold + 1}/{folds}", len(label))
        soft[label] = predict(model, dataset, label, said, narrow=narrow)
        members.append(model)
        histories.append(history)
    mean = Mean(members).eval()
    if not len(valid):
        return Taught(mean, soft, histories, math.nan)
    soft[valid] = predict(mean, dataset, valid)
    return Taught(mean, soft, histories, problem.score(soft[valid], dataset.target(valid)).error)


def augmentation(problem: Problem, teacher: Teacher | Assistant) -> Augment | None:
    """Return how a teacher's training rows are changed. Raises ConfigError on an unknown kind, or one that makes rows.

    An assistant's are changed by its student's objective.
    """
    if not isinstance(teacher, Teacher) or teacher.augment is None:
        return None
    found = pick(teacher.augment, problem.strategies().augment, "augment")
    if not isinstance(found, Augment):
        raise ConfigError(f"augment: {teacher.augment.kind} makes rows that teachers label; it is for students")
    return found


def _labelled(part: str, rows: int) -> Callable[[int], None]:
    """Return a callback that logs how far labelling is: a line every `ROWS_A_LINE` rows."""
    began, said = time.monotonic(), 0

    def progress(done: int) -> None:
        nonlocal said
        if done - said >= ROWS_A_LINE:
            said = done
            log.info("%s: %s of %s rows labelled, %.0f s", part, f"{done:,}", f"{rows:,}", time.monotonic() - began)

    return progress


def held_out_features(teacher: Mean, dataset: Dataset, seed: int, of: Shown = "features") -> NDArray[np.float16]:
    """Return (all rows, width) features, attention or maps of training rows, by the fold model that never saw them.

    Other rows are NaN. `seed`: that of `teach`. Raises ConfigError when the models have no features.
    """
    folds = len(teacher.members)
    fold_of = assign_folds(dataset.groups, folds, seed)
    result: NDArray[np.float16] | None = None
    for fold, member in enumerate(teacher.members):
        if not shows(member, of):
            raise ConfigError(f"keep: a {type(member).__name__} has no {of} to keep; leave it out")
        _, label = fold_rows(dataset.splits["train"], fold_of, fold)
        values = features(member, dataset, label, of)
        if result is None:
            result = np.full((len(dataset.groups), values.shape[1]), np.nan, dtype=np.float16)
        limit = np.finfo(np.float16).max
        result[label] = values.clip(-limit, limit)
    assert result is not None
    return result
