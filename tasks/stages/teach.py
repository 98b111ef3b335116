"""Stage teach trains one teacher by folds, exports it, and keeps its soft targets."""

import logging

import numpy as np

from tasks.compression.export import export_onnx
from tasks.core.errors import UsageError
from tasks.core.files import write_json
from tasks.core.storage import open_store
from tasks.distillation.checkpoint import Checkpoint, StoreCheckpoint
from tasks.distillation.ensemble import SOFT
from tasks.distillation.knowledge import SHOWN, WEIGHTS
from tasks.distillation.processes import is_first
from tasks.distillation.teacher import held_out_features, teach
from tasks.distillation.trainer import Progress, set_up
from tasks.problems import get_problem
from tasks.problems.blocks.weights import count_parameters, save_weights
from tasks.stages.context import Context

log = logging.getLogger(__name__)


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/teachers/<name>/{teacher.onnx, soft.npy, history.json, about.json}, and the files to keep."""
    if name is None or name not in ctx.run.teachers:
        raise UsageError(f"stage teach: expected a teacher's name; there are: {', '.join(ctx.run.teachers)}")
    set_up(ctx.run.seed, ctx.run.threads)
    teacher = ctx.run.teachers[name]
    problem = get_problem(ctx.run.problem)
    dataset = problem.load(ctx.artifacts / "features")
    store = open_store(ctx.checkpoints) if ctx.checkpoints else None

    def checkpoint(fold: int) -> Checkpoint | None:
        return StoreCheckpoint(store, f"fold-{fold}.safetensors") if store else None

    def progress(fold: int) -> Progress:
        def report(epoch: int, loss: float, error: float) -> None:
            part = f"{name} fold {fold + 1}/{ctx.run.folds} epoch {epoch}"
            log.info("%s: loss %.4f, validation %s %.4f", part, loss, problem.primary_metric, error)

        return report

    taught = teach(
        dataset,
        problem,
        teacher,
        folds=ctx.run.folds,
        seed=ctx.run.seed,
        checkpoint=checkpoint,
        progress=progress,
    )
    if not is_first():
        return
    model = export_onnx(taught.model, dataset.contract, dataset.inputs(dataset.splits["valid"][:2]))
    folder = ctx.artifacts / "teachers" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "teacher.onnx").write_bytes(model)
    np.save(folder / SOFT, taught.soft)
    if teacher.every:  # of tomorrow's rows, too, those that a fold held out are labelled by its model
        for fold, member in enumerate(taught.model.members):
            sample = dataset.inputs(dataset.splits["valid"][:2])
            (folder / f"fold-{fold}.onnx").write_bytes(export_onnx(member, dataset.contract, sample))
    for of in SHOWN.keys() & {*teacher.keep}:
        np.save(folder / SHOWN[of], held_out_features(taught.model, dataset, ctx.run.seed, of))
    if "weights" in teacher.keep:
        (folder / WEIGHTS).write_bytes(save_weights(taught.model.members[0]))
    write_json(folder / "history.json", [history.to_json() for history in taught.histories])
    about = {
        "parameters": count_parameters(taught.model),
        "bytes": len(model),
        "valid_error": taught.valid_error,
        "epochs": [len(history.valid) for history in taught.histories],
        "model": teacher.model.model_dump(mode="json"),
        "seed": ctx.run.seed,
    }
    write_json(folder / "about.json", about)
    ctx.summary(f"teach@{name}", {key: about[key] for key in ("parameters", "bytes", "valid_error", "epochs")})
