"""Stage refit trains the chosen student and its teachers again, with the newest rows, and compresses as chosen."""

import logging
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tasks.compression.chain import Chain, parse_chain
from tasks.compression.options import Recipe
from tasks.compression.recipe import CORRECTION, compress, sampled
from tasks.core.errors import IntegrityError, UsageError
from tasks.core.files import read_json, write_json
from tasks.core.storage import open_store
from tasks.distillation.checkpoint import StoreCheckpoint
from tasks.distillation.ensemble import saved_weights
from tasks.distillation.knowledge import Knowledge, load_knowledge
from tasks.distillation.objective import Objective
from tasks.distillation.student import distil, fine_tuning, fine_tuning_objective
from tasks.distillation.teacher import teach
from tasks.distillation.trainer import History, Progress, set_up
from tasks.gates.gate import Candidate
from tasks.gates.verdict import in_order_of_choice
from tasks.pipeline.graph import CANDIDATES
from tasks.problems import get_problem
from tasks.problems.base import Correction, Dataset, Floats, Problem
from tasks.problems.blocks.inputs import inputs_of
from tasks.stages.context import Context

log = logging.getLogger(__name__)

ENSEMBLE = "ensemble"
MEASURED = ("parameters", "nonzero", "bytes", "sha256", "parity")
"""Of a candidate's facts these are its bytes' own; its errors are of validation rows, which it has learned from."""


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/refit: all candidates as they are, and `name`: the first of them, made again with newer rows.

    Nothing is chosen here: not the student, epochs or trees, the teachers' weights, or the recipe's steps.
    """
    if name is None or name != ctx.run.refit:
        raise UsageError(f"stage refit: expected {ctx.run.refit or 'no call: the workload has no refit'}, got {name!r}")
    candidates, folder = ctx.root / CANDIDATES, ctx.candidates / str(name)
    shutil.copytree(candidates, ctx.candidates, dirs_exist_ok=True)
    chosen = first_choice(candidates, ctx.run.recipes, ctx.run.gates.selection_tolerance)
    about: dict[str, Any] = {"recipe": name, "of": chosen.name}
    if chosen.model is None:
        about["reason"] = f"{chosen.name} has no model either"
    else:
        about |= _made_again(ctx, chosen, folder)
    write_json(folder / "about.json", about)
    ctx.summary(
        f"refit@{name}", {key: about[key] for key in ("of", "student", "bytes", "rows", "reason") if key in about}
    )


def first_choice(folder: Path, names: Iterable[str], tolerance: float) -> Candidate:
    """Return the one of the candidates `names` in `folder` that validation rows and bytes put first."""
    found = []
    for name in names:
        model = folder / name / "model.onnx"
        data = model.read_bytes() if model.is_file() else None
        found.append(Candidate(name, data, read_json(folder / name / "about.json")))
    return in_order_of_choice(found, tolerance)[0]


def correction_of(problem: Problem, chosen: Candidate) -> Correction | None:
    """Return the chosen candidate's correction: the rows that it was fitted on have now been learned from."""
    told = chosen.about.get(CORRECTION)
    return problem.corrections.model_validate(told) if problem.corrections and told else None


def _made_again(ctx: Context, chosen: Candidate, folder: Path) -> dict[str, Any]:
    """Write the new model.onnx into `folder`, and return its facts."""
    problem = get_problem(ctx.run.problem)
    dataset = problem.load(ctx.artifacts / "features")
    newest = dataset.newest()
    named = chosen.about["student"]
    student = ctx.run.students[named]
    rows = {"before": len(dataset.splits["train"]), "now": len(newest.splits["train"])}
    log.info(
        "%s: %s is trained again, on %s rows instead of %s",
        chosen.name,
        named,
        f"{rows['now']:,}",
        f"{rows['before']:,}",
    )
    soft = _taught_again(ctx, problem, dataset, newest) if student.distilled else None
    before = load_knowledge(ctx.artifacts / "teachers", ctx.run.ensemble)
    set_up(ctx.run.seed, ctx.run.threads)
    distilled = distil(
        newest,
        problem,
        student,
        Knowledge({} if soft is None else {ENSEMBLE: soft}, {}, before.weights),
        folds=ctx.run.folds,
        seed=ctx.run.seed,
        checkpoint=lambda part: _checkpoint(ctx, part),
        progress=_progress,
        again=History(**read_json(ctx.artifacts / "students" / named / "history.json")),
    )

    @cache
    def objective() -> Objective:
        return fine_tuning_objective(newest, problem, student, soft)

    model = distilled.model
    names, valid = inputs_of(model, dataset.contract.inputs), dataset.splits["valid"]
    target = dataset.target(valid)
    set_up(ctx.run.seed, ctx.run.threads)
    result = compress(
        model,
        _chain(ctx, chosen),
        dataset.contract,
        valid=dataset.batches(valid, names),
        error=lambda output: problem.score(output, target).error,
        calibration=sampled(newest, names),
        tune=fine_tuning(
            newest, problem, student.training, objective, ctx.run.seed, again=chosen.about.get("tuned", ())
        ),
        correction=lambda _output: correction_of(problem, chosen),
        threads=ctx.run.threads,
        rounds=0,
        names=lambda output: problem.named(dataset, valid, output),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(result.model)
    facts = result.about()
    kept = {key: chosen.about[key] for key in ("student", "steps", "valid_error", CORRECTION) if key in chosen.about}
    return {**kept, **{key: facts[key] for key in MEASURED}, "rows": rows}


def _taught_again(ctx: Context, problem: Problem, dataset: Dataset, newest: Dataset) -> Floats:
    """Return (all rows of `newest`, *output_shape) labels of teachers that learned from the newest rows too.

    Rows are labelled out-of-fold as before. The ensemble's weights stay; members without any are left alone.
    """
    folder = ctx.artifacts / "teachers"
    names = sorted(ctx.run.teachers)
    weights = saved_weights(problem, dataset, folder, names, ctx.run.ensemble)
    counts = dict(zip(names, weights, strict=True)) if weights else dict.fromkeys(names, 1.0)
    members = [name for name, weight in counts.items() if weight > 0]

    def taught(name: str) -> Floats:
        set_up(ctx.run.seed, ctx.run.threads)
        log.info("teacher %s is trained again", name)
        return teach(
            newest,
            problem,
            ctx.run.teachers[name],
            folds=ctx.run.folds,
            seed=ctx.run.seed,
            checkpoint=lambda fold: _checkpoint(ctx, f"{name}-fold-{fold}"),
            progress=lambda fold: _progress(f"{name} fold {fold + 1}"),
            again=[History(**history) for history in read_json(folder / name / "history.json")],
        ).soft

    return problem.ensemble(map(taught, members), tuple(counts[name] for name in members) if weights else None)


def _chain(ctx: Context, chosen: Candidate) -> Chain:
    """Return the recipe's chain, of a search the one that it found. Raises IntegrityError when it says none."""
    recipe = ctx.run.recipes[chosen.name]
    if recipe.search:
        steps = (chosen.about.get("search") or {}).get("steps")
        if steps is None:
            raise IntegrityError(f"candidates/{chosen.name}/about.json: it does not say what steps the search found")
        recipe = Recipe.model_validate({"steps": steps})
    return parse_chain(chosen.name, recipe)


def _checkpoint(ctx: Context, part: str) -> StoreCheckpoint | None:
    return StoreCheckpoint(open_store(ctx.checkpoints), f"{part}.safetensors") if ctx.checkpoints else None


def _progress(part: str) -> Progress:
    def report(epoch: int, loss: float, _error: float) -> None:
        log.info("%s epoch %d: loss %.4f", part, epoch, loss)

    return report
