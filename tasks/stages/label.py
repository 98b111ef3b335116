"""Stage label lets a kept teacher label tonight's rows, and puts it where the teachers of a night are."""

import json
import shutil

import numpy as np
import polars as pl

from tasks.core.errors import UsageError
from tasks.core.files import read_json, write_json
from tasks.distillation.kept import KeptTeacher
from tasks.distillation.knowledge import CONTRACT, LEARNED, MODEL, SOFT
from tasks.problems import get_problem
from tasks.problems.base import Raw
from tasks.problems.contracts import contract_from_json
from tasks.stages.context import Context


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/teachers/<name>/{teacher.onnx, contract.json, soft.npy, history.json, about.json}.

    The file reads inputs as its contract.json says, which is that of the day when it was trained.
    """
    if name is None or name not in ctx.run.code.kept:
        raise UsageError(f"stage label: expected a kept teacher; there are: {', '.join(ctx.run.code.kept)}")
    problem, kept = get_problem(ctx.run.problem), ctx.artifacts / "kept" / name
    dataset = problem.load(ctx.artifacts / "features")
    teacher = KeptTeacher(
        (kept / MODEL).read_bytes(),
        [(kept / f"fold-{fold}.onnx").read_bytes() for fold in range(len(list(kept.glob("fold-*.onnx"))))],
        contract_from_json(json.loads((kept / CONTRACT).read_text())),
        pl.read_parquet(kept / LEARNED, glob=False),
    )
    soft, known = teacher.label(dataset, Raw(ctx.tables(), ctx.run.as_of))
    folder = ctx.artifacts / "teachers" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (MODEL, CONTRACT, "history.json"):
        shutil.copy(kept / file, folder)
    np.save(folder / SOFT, soft)
    valid = dataset.splits["valid"]
    error = problem.score(soft[valid], dataset.target(valid)).error
    rows = len(valid) + len(dataset.splits["train"])
    told = {"since": ctx.run.code.kept[name].isoformat(), "learned_rows": known, "other_rows": rows - known}
    about = {**read_json(kept / "about.json"), "valid_error": error, "kept": told}
    write_json(folder / "about.json", about)
    ctx.summary(f"label@{name}", {**{key: about[key] for key in ("parameters", "bytes", "valid_error")}, **told})
