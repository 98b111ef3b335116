"""Stage distil: train one student on the truth and the teachers' soft targets (the twin on the truth alone)."""

import logging

import numpy as np

from tasks.compression.export import export_onnx
from tasks.distillation.checkpoint import StoreCheckpoint
from tasks.distillation.trainer import TrainingData, set_up, train
from tasks.errors import UsageError
from tasks.models import build_model, count_parameters, save_weights
from tasks.problems import get_problem
from tasks.stages.context import Context, write_json
from tasks.storage import open_store

log = logging.getLogger(__name__)


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/students/<name>/{model.safetensors, student.onnx, history.json, about.json}."""
    if name is None or name not in ctx.run.students:
        raise UsageError(f"stage distil: expected a student's name; there are: {', '.join(ctx.run.students)}")
    set_up(ctx.run.seed, ctx.run.threads)
    student = ctx.run.students[name]
    problem = get_problem(ctx.run.problem)
    dataset = problem.load(ctx.artifacts / "features")
    teachers = sorted(path for path in (ctx.artifacts / "teachers").iterdir() if path.is_dir())
    soft = problem.ensemble(np.load(folder / "soft.npy") for folder in teachers)
    data = TrainingData(
        dataset,
        dataset.splits["train"],
        dataset.splits["valid"],
        lambda output, target: problem.score(output, target).error,
        soft,
    )
    checkpoint = StoreCheckpoint(open_store(ctx.checkpoints), "state.safetensors") if ctx.checkpoints else None

    def progress(epoch: int, loss: float, error: float) -> None:
        part = f"{name} epoch {epoch}/{student.training.epochs}"
        log.info("%s: loss %.4f, validation %s %.4f", part, loss, problem.primary_metric, error)

    model = build_model(student.model, dataset.contract)
    history = train(
        model,
        data,
        problem.losses(dataset.contract, student.temperature),
        student.training,
        seed=ctx.run.seed,
        alpha=student.alpha,
        checkpoint=checkpoint,
        progress=progress,
    )
    weights = save_weights(model)
    folder = ctx.artifacts / "students" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    exported = export_onnx(model, dataset.contract, dataset.inputs(dataset.splits["valid"][:2]))
    (folder / "student.onnx").write_bytes(exported)
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
