"""A night's stages one after the other in the test's own process, which imports their libraries once."""

from typing import Any

from tasks.core.files import read_json
from tasks.stages import compress, distil, evaluate, features, snapshot, teach, validate
from tasks.stages.context import Context


def judge(context: Context) -> dict[str, Any]:
    """Run a workload's stages up to evaluate, and return the verdict."""
    for stage in (snapshot, validate, features):
        stage.run(context)
    run = context.run
    for stage, names in ((teach, run.teachers), (distil, run.students), (compress, run.recipes)):
        for name in names:
            stage.run(context, name)
    evaluate.run(context)
    verdict: dict[str, Any] = read_json(context.artifacts / "evaluation" / "verdict.json")
    return verdict
