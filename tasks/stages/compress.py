"""Stage compress: put the better student through one recipe and export the candidate."""

import logging
from collections.abc import Callable
from functools import cache

import numpy as np
from torch import nn

from tasks.compression.chain import parse_chain
from tasks.compression.recipe import compress
from tasks.config import Student
from tasks.distillation.trainer import AfterStep, TrainingData, set_up, train
from tasks.errors import IntegrityError, UsageError
from tasks.models import build_model, load_weights
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Floats, Inputs, Problem
from tasks.stages.context import Context, read_json, write_json

log = logging.getLogger(__name__)


def run(ctx: Context, name: str | None = None) -> None:
    """`name`: the recipe. Writes model.onnx and about.json."""
    if name not in ctx.run.recipes:
        raise UsageError(f"compress: no recipe {name!r}; there are: {', '.join(ctx.run.recipes)}")
    chain = parse_chain(name, ctx.run.recipes[name])
    problem = get_problem(ctx.run.problem)
    dataset = problem.load(ctx.artifacts / "features")
    chosen = better_student(ctx)
    student = ctx.run.students[chosen]
    set_up(ctx.run.seed, ctx.run.threads)
    model = build_model(student.model, dataset.contract)
    load_weights(model, (ctx.artifacts / "students" / chosen / "model.safetensors").read_bytes())
    target = dataset.target(dataset.splits["valid"])
    result = compress(
        model,
        chain,
        dataset.contract,
        valid=dataset.inputs(dataset.splits["valid"]),
        error=lambda output: problem.score(output, target).error,
        calibration=_calibration(dataset),
        tune=_fine_tuning(ctx, problem, dataset, student),
        threads=ctx.run.threads,
    )
    for stock in result.history:
        log.info("%s: after %s: error %.6g, %d bytes", name, stock.step, stock.error, stock.bytes)
    folder = ctx.artifacts / "candidates" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(result.model)
    steps = [step.kind for step in ctx.run.recipes[name].steps]
    about = {"recipe": name, "student": chosen, "steps": steps, **result.about()}
    write_json(folder / "about.json", about)
    told = ("student", "valid_error", "bytes", "nonzero", "parameters")
    ctx.summary(f"compress@{name}", {key: about[key] for key in told})


def better_student(ctx: Context) -> str:
    """The student with the smallest validation error; of equals the first in params.yaml, which is not the twin.

    Raises IntegrityError when none states a finite error.
    """
    errors = {
        name: read_json(ctx.artifacts / "students" / name / "about.json").get("valid_error")
        for name in ctx.run.students
    }
    known = {name: error for name, error in errors.items() if isinstance(error, int | float) and np.isfinite(error)}
    if not known:
        raise IntegrityError(f"students: none of {', '.join(errors)} has a finite valid_error in its about.json")
    return min(known, key=lambda name: (known[name], ctx.run.students[name].alpha, name))


def _calibration(dataset: Dataset) -> Callable[[int], Inputs]:
    """Inputs of n training rows, spread evenly."""
    rows = dataset.splits["train"]

    def sample(count: int) -> Inputs:
        places = np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))
        return dataset.inputs(rows[places])

    return sample


def _fine_tuning(ctx: Context, problem: Problem, dataset: Dataset, student: Student) -> Callable[..., None]:
    """Trains on the student's own loss: its alpha, its temperature, the teachers' soft targets."""
    losses = problem.losses(dataset.contract, student.temperature)

    def error(output: Floats, target: Floats) -> float:
        return problem.score(output, target).error

    @cache
    def soft() -> Floats | None:
        if student.alpha == 1:
            return None
        return problem.ensemble(
            [np.load(ctx.artifacts / "teachers" / name / "soft.npy") for name in sorted(ctx.run.teachers)]
        )

    def tune(model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None) -> None:
        learning_rate = student.training.learning_rate * learning_rate_factor
        train(
            model,
            TrainingData(dataset, dataset.splits["train"], dataset.splits["valid"], error, soft()),
            losses,
            student.training.model_copy(update={"epochs": epochs, "learning_rate": learning_rate}),
            seed=ctx.run.seed,
            alpha=student.alpha,
            after_step=after_step,
        )

    return tune
