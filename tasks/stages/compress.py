"""Stage compress puts the better student through one recipe, or searches for one, and exports the candidate."""

import copy
import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from tasks.compression.chain import Chain, parse_chain
from tasks.compression.options import Search
from tasks.compression.recipe import ROUNDS, Compressed, compress, sampled
from tasks.compression.runtime import OnnxModel
from tasks.compression.search.space import default_space, parse_space
from tasks.compression.search.trial import Memory
from tasks.compression.step import FineTune
from tasks.compression.timing import Latency, measure
from tasks.core.errors import IntegrityError, UsageError
from tasks.core.files import read_json, write_json
from tasks.core.storage import open_store
from tasks.distillation.ensemble import SOFT
from tasks.distillation.knowledge import load_knowledge
from tasks.distillation.objective import Made, Objective
from tasks.distillation.student import fine_tuning, fine_tuning_objective, make_rows
from tasks.distillation.trainer import set_up
from tasks.gates.comparison import compare
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Floats, Inputs, Problem, Score
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.weights import load_weights
from tasks.problems.models import build_model
from tasks.stages.context import Context

if TYPE_CHECKING:
    from tasks.compression.search.found import Found

log = logging.getLogger(__name__)

SURE, RESAMPLES = 0.95, 1000
"""An error is surely less if it is so with this confidence, by so many resamples."""


def run(ctx: Context, name: str | None = None) -> None:
    """Write model.onnx and about.json of recipe `name`; a search also trials.json, and no model if none fits."""
    if name not in ctx.run.recipes:
        raise UsageError(f"compress: no recipe {name!r}; there are: {', '.join(ctx.run.recipes)}")
    recipe = ctx.run.recipes[name]
    chain = parse_chain(name, recipe)
    problem = get_problem(ctx.run.problem)
    dataset = problem.load(ctx.artifacts / "features")
    chosen = better_student(ctx)
    student = ctx.run.students[chosen]
    set_up(ctx.run.seed, ctx.run.threads)
    model = build_model(student.model, dataset.contract)
    load_weights(model, (ctx.artifacts / "students" / chosen / "model.safetensors").read_bytes())
    names, rows = inputs_of(model, dataset.contract.inputs), dataset.splits["valid"]
    valid, target = dataset.batches(rows, names), dataset.target(rows)
    calibration, tune = sampled(dataset, names), _fine_tuning(ctx, problem, dataset, chosen)

    def build(chain: Chain) -> Compressed:
        set_up(ctx.run.seed, ctx.run.threads)
        return compress(
            copy.deepcopy(model),
            chain,
            dataset.contract,
            valid=valid,
            error=lambda output: problem.score(output, target).error,
            calibration=calibration,
            tune=tune,
            correction=lambda output: problem.correction(dataset, rows, output),
            threads=ctx.run.threads,
            rounds=0 if recipe.search else ROUNDS,
            names=lambda output: problem.named(dataset, rows, output),
        )

    folder = ctx.artifacts / "candidates" / name
    if recipe.search:
        sample = dataset.inputs(rows[: recipe.search.batch], names)
        found = _search(ctx, name, recipe.search, model, sample, build, _surely_better(ctx, problem, dataset))
        write_json(folder / "trials.json", found.trials_json())
        write_json(ctx.pages / f"compress@{name}.search.json", found.latency_json())
        result, measured = found.result, found.about()
    else:
        result = build(chain)
        write_json(ctx.pages / f"compress@{name}.latency.json", result.latency())
        measured = {"steps": [step.kind for step in recipe.steps], **result.about()}
    if result:
        _log_history(name, result)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(result.model)
    else:
        log.warning("%s: no candidate: %s", name, measured["reason"])
    about = {"recipe": name, "student": chosen, **measured}
    write_json(folder / "about.json", about)
    told = ("student", "valid_error", "bytes", "nonzero", "parameters", "reason")
    ctx.summary(f"compress@{name}", {key: about[key] for key in told if key in about})


def _log_history(name: str, result: Compressed) -> None:
    for stock in result.history:
        log.info("%s: after %s: error %.6g, %d bytes", name, stock.step, stock.error, stock.bytes)


def _search(
    ctx: Context,
    name: str,
    settings: Search,
    model: nn.Module,
    sample: Inputs,
    build: Callable[[Chain], Compressed],
    better: Callable[[bytes, bytes], bool],
) -> "Found":
    """Search a recipe, continuing from the trials that a killed attempt has kept. `sample`: rows to time."""
    from tasks.compression.search.study import Task, search

    space = parse_space(name, settings.space or default_space(model))

    def latency(data: bytes, rounds: int) -> Latency:
        return measure(data, sample, batch=settings.batch, threads=ctx.run.threads, rounds=rounds)

    shelf = open_store(ctx.checkpoints) if ctx.checkpoints else Memory()
    return search(Task(name, settings, space, build, latency, ctx.run.seed, better, shelf))


def _surely_better(ctx: Context, problem: Problem, dataset: Dataset) -> Callable[[bytes, bytes], bool]:
    """Return whether a file's error on validation rows is surely below another's, by the gates' interval."""
    rows = dataset.splits["valid"]
    target, clusters = dataset.target(rows), dataset.clusters(rows)

    def score(data: bytes) -> Score:
        runtime = OnnxModel(data, ctx.run.threads, dataset.contract.most_rows)
        return problem.score(runtime.run(dataset.batches(rows, runtime.names)), target)

    def better(model: bytes, other: bytes) -> bool:
        one, two = score(model), score(other)
        try:
            found = compare(one, two, clusters, confidence=SURE, resamples=RESAMPLES, seed=ctx.run.seed)
        except ValueError:  # one entity in one block of time
            return one.error < two.error
        return found.high < 0

    return better


def better_student(ctx: Context) -> str:
    """Return the student with the least validation error; of equals the one with the least alpha, then by name.

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


def _fine_tuning(ctx: Context, problem: Problem, dataset: Dataset, name: str) -> FineTune:
    """Return a training on the objective of student `name`: its alpha, its losses, and its soft targets."""
    student, folder = ctx.run.students[name], ctx.artifacts / "students" / name

    @cache
    def objective() -> Objective:
        soft: Floats | None = None
        made: Made | None = None
        if (folder / SOFT).is_file():  # of its assistant
            soft = np.load(folder / SOFT)
        elif student.distilled:
            knowledge = load_knowledge(ctx.artifacts / "teachers", ctx.run.ensemble)
            soft = knowledge.ensemble(problem, dataset)
            made = make_rows(dataset, problem, student, knowledge, ctx.run.seed)
        return fine_tuning_objective(dataset, problem, student, soft, made)

    return fine_tuning(dataset, problem, student.training, objective, ctx.run.seed)
