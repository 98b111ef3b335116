"""Stage label lets a kept teacher label tonight's rows, and puts it where the teachers of a night are.

One that is kept until the data move is trained with tonight's rows, once they have.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.core.files import read_json, write_json
from tasks.distillation.ensemble import SOFT
from tasks.distillation.kept import KeptTeacher
from tasks.distillation.knowledge import CONTRACT, LEARNED, MODEL, PROFILE
from tasks.gates.drift import Drift, drifts, profile_from_json, profile_inputs
from tasks.gates.result import rounded
from tasks.problems import get_problem
from tasks.problems.base import Raw
from tasks.problems.contracts import contract_from_json
from tasks.stages import teach
from tasks.stages.context import Context
from tasks.tables.table import TableContract

log = logging.getLogger(__name__)


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/teachers/<name>/{teacher.onnx, contract.json, soft.npy, history.json, about.json}.

    The file reads inputs as its contract.json says, which is that of the day when it was trained.
    """
    if name is None or name not in ctx.run.code.kept:
        raise UsageError(f"stage label: expected a kept teacher; there are: {', '.join(ctx.run.code.kept)}")
    problem, kept = get_problem(ctx.run.problem), ctx.artifacts / "kept" / name
    folder, raw = ctx.artifacts / "teachers" / name, Raw(ctx.tables(), ctx.run.as_of)
    told: dict[str, Any] = {"since": ctx.run.code.kept[name].isoformat()}
    limit = ctx.run.teachers[name].until_drift
    if limit is not None:
        moved = _most_drifted(name, kept, raw, problem.tables())
        told |= {"drifted": moved.name, "psi": rounded(moved.psi)}
        if not moved.psi <= limit:
            told["ended"] = f"input {moved.name} has moved by {moved.psi:.3g}, more than {limit:g}"
            log.info("%s: trained with tonight's rows: %s", name, told["ended"])
            _train(ctx, name, told)
            return
    dataset = problem.load(ctx.artifacts / "features")
    teacher = KeptTeacher(
        (kept / MODEL).read_bytes(),
        [(kept / f"fold-{fold}.onnx").read_bytes() for fold in range(len(list(kept.glob("fold-*.onnx"))))],
        contract_from_json(json.loads((kept / CONTRACT).read_text())),
        pl.read_parquet(kept / LEARNED, glob=False),
    )
    soft, known = teacher.label(dataset, raw)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (MODEL, CONTRACT, "history.json"):
        shutil.copy(kept / file, folder)
    np.save(folder / SOFT, soft)
    valid = dataset.splits["valid"]
    error = problem.score(soft[valid], dataset.target(valid)).error
    rows = len(valid) + len(dataset.splits["train"])
    told |= {"learned_rows": known, "other_rows": rows - known}
    about = {**read_json(kept / "about.json"), "valid_error": error, "kept": told}
    write_json(folder / "about.json", about)
    ctx.summary(f"label@{name}", {**{key: about[key] for key in ("parameters", "bytes", "valid_error")}, **told})


def _most_drifted(name: str, kept: Path, raw: Raw, contracts: Sequence[TableContract]) -> Drift:
    """Return the input that moved most since the kept teacher was trained. Raises DataError when there is none."""
    then, _ = profile_from_json(read_json(kept / PROFILE))
    found = drifts(profile_inputs(raw, contracts), then, "input")
    if not found:
        raise DataError(f"teachers.{name}.until_drift: tonight's data have no column that its own had; leave it out")
    return found[0]


def _train(ctx: Context, name: str, told: dict[str, Any]) -> None:
    """Do what stage teach does, and say why; the file reads inputs by tonight's contract."""
    teach.run(ctx, name)
    folder = ctx.artifacts / "teachers" / name
    for file in folder.glob("fold-*.onnx"):  # of a teacher for nights to come, and this one is tonight's
        file.unlink()
    (ctx.pages / f"teach@{name}.summary.json").unlink()
    shutil.copy(ctx.artifacts / "features" / CONTRACT, folder)
    about = {**read_json(folder / "about.json"), "kept": told}
    write_json(folder / "about.json", about)
    ctx.summary(f"label@{name}", {**{key: about[key] for key in ("parameters", "bytes", "valid_error")}, **told})
