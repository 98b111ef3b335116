"""Stage distil trains one student on the truth and the teachers' soft targets (the twin on the truth alone)."""

import logging

import numpy as np

from tasks.compression.export import export_onnx
from tasks.core.errors import UsageError
from tasks.core.files import write_json
from tasks.core.storage import open_store
from tasks.distillation.checkpoint import Checkpoint, StoreCheckpoint
from tasks.distillation.ensemble import SOFT
from tasks.distillation.knowledge import load_knowledge
from tasks.distillation.processes import is_first
from tasks.distillation.student import distil
from tasks.distillation.trainer import Progress, set_up
from tasks.problems import get_problem
from tasks.problems.blocks.weights import count_parameters, save_weights
from tasks.stages.context import Context

log = logging.getLogger(__name__)


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/students/<name>/{model.safetensors, student.onnx, history.json, about.json}.

    And soft.npy, if an assistant was trained: its labels, which took the teachers' place.
    """
    if name is None or name not in ctx.run.students:
        raise UsageError(f"stage distil: expected a student's name; there are: {', '.join(ctx.run.students)}")
    set_up(ctx.run.seed, ctx.run.threads)
    student = ctx.run.students[name]
    problem = get_problem(ctx.run.problem)
    dataset = problem.load(ctx.artifacts / "features")
    store = open_store(ctx.checkpoints) if ctx.checkpoints else None

    def checkpoint(part: str) -> Checkpoint | None:
        return StoreCheckpoint(store, f"{part}.safetensors") if store else None

    def progress(part: str) -> Progress:
        def report(epoch: int, loss: float, error: float) -> None:
            log.info(
                "%s %s epoch %d: loss %.4f, validation %s %.4f", name, part, epoch, loss, problem.primary_metric, error
            )

        return report

    distilled = distil(
        dataset,
        problem,
        student,
        load_knowledge(ctx.artifacts / "teachers", ctx.run.ensemble),
        folds=ctx.run.folds,
        seed=ctx.run.seed,
        checkpoint=checkpoint,
        progress=progress,
    )
    if not is_first():
        return
    model, history = distilled.model, distilled.history
    folder = ctx.artifacts / "students" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(save_weights(model))
    exported = export_onnx(model, dataset.contract, dataset.inputs(dataset.splits["valid"][:2]))
    (folder / "student.onnx").write_bytes(exported)
    if distilled.assistant is not None:
        np.save(folder / SOFT, distilled.assistant)
    write_json(folder / "history.json", history.to_json())
    about = {
        "parameters": count_parameters(model),
        "bytes": len(exported),
        "valid_error": history.valid[history.best],
        "alpha": student.alpha,
        "model": student.model.model_dump(mode="json"),
    }
    write_json(folder / "about.json", about)
    ctx.summary(f"distil@{name}", {key: about[key] for key in ("parameters", "bytes", "valid_error", "alpha")})
