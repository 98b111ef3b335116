"""Stage keep trains a teacher as a night of its period's first day would have, so that it can be kept."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from tasks.core.errors import UsageError
from tasks.core.files import write_json
from tasks.distillation.kept import learned_rows
from tasks.distillation.knowledge import CONTRACT, LEARNED, PROFILE
from tasks.gates.drift import profile_inputs, profile_json
from tasks.problems import get_problem
from tasks.problems.base import Raw
from tasks.stages import features, snapshot, teach, validate
from tasks.stages.context import Context


def run(ctx: Context, name: str | None = None) -> None:
    """Write artifacts/kept/<name>: what stage teach writes, fold-<k>.onnx, contract.json and learned.parquet.

    profile.json is written of one that is kept until the data move. Rows after that day are not read, and its data
    pass the workload's checks first.
    """
    if name is None or name not in ctx.run.code.kept:
        raise UsageError(f"stage keep: expected a kept teacher; there are: {', '.join(ctx.run.code.kept)}")
    run = ctx.run.model_copy(update={"as_of": ctx.run.code.kept[name], "champion": 0})
    with tempfile.TemporaryDirectory(prefix="nightstill-kept-") as root:
        past = replace(ctx, run=run, root=Path(root))
        snapshot.take(past, earlier=True)
        validate.run(past)
        features.run(past)
        teach.run(past, name)
        folder = ctx.artifacts / "kept" / name
        shutil.copytree(past.artifacts / "teachers" / name, folder, dirs_exist_ok=True)
        shutil.copy(past.artifacts / "features" / CONTRACT, folder)
        problem = get_problem(run.problem)
        if run.teachers[name].until_drift:
            inputs = profile_inputs(Raw(past.tables(), run.as_of), problem.tables())
            write_json(folder / PROFILE, profile_json(inputs, {}))
        dataset = problem.load(past.artifacts / "features")
        learned_rows(dataset, run.folds, run.seed).write_parquet(folder / LEARNED)
    ctx.summary(f"keep@{name}", {"since": run.as_of.isoformat()})
