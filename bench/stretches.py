"""A night's models on stretches of time before its test rows: what a choice is worth, with the test rows unseen.

    python -m bench.stretches finance --as-of 2026-11-28 --count 4

Of each stretch, as long as the night's test rows and ending before them, the night's own stages train teachers and
students on what is earlier, with validation rows in between. Printed are the errors on each stretch, and their mean.
"""

import logging
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from bench.gallery import night, rows_of
from bench.processes import program
from tasks.compression.runtime import OnnxModel
from tasks.config.run import Run
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.distillation.ensemble import member_weights
from tasks.distillation.knowledge import MODEL, load_knowledge
from tasks.problems import get_problem
from tasks.problems.base import Floats, Problem
from tasks.problems.forecasting.dataset import Windows, build_windows, split_origins
from tasks.stages import distil, teach
from tasks.stages.context import Context


def main(
    workload: Annotated[str, typer.Argument(help="One of forecasting, of params.yaml or workloads/.")],
    as_of: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The night's day.")],
    count: Annotated[int, typer.Option(min=1, help="Stretches, the last of which ends before the test rows.")] = 4,
) -> None:
    """Print the error of naive forecast, teachers and students on each stretch, and its mean."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING)
    run = night(workload, as_of.date())
    problem = get_problem(run.problem)
    dataset = rows_of(problem, run)
    if not isinstance(dataset, Windows):
        raise ConfigError(
            f"{workload}: problem.kind is {run.problem.kind}, which has no stretches; name a forecasting one"
        )
    began, found = time.process_time(), list[dict[str, float]]()
    for back in range(1, count + 1):
        with TemporaryDirectory() as folder:
            found.append(errors(problem, earlier(dataset, back), run, Path(folder)))
        console.print(f"{back} back: {told(found[-1])}")
    mean = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    seconds = time.process_time() - began
    console.print(f"{workload}: mean {problem.primary_metric} {told(mean)}, {seconds:.0f} s of a processor")


def told(errors_by_name: dict[str, float]) -> str:
    """Return the errors in a line."""
    return ", ".join(f"{name} {error:.4f}" for name, error in errors_by_name.items())


def earlier(dataset: Windows, back: int) -> Windows:
    """Return the rows that the night would have, had it been `back` times its test stretch earlier.

    Raises DataError when the history before is too short.
    """
    options = dataset.options
    steps = len(dataset.panel.times) - back * options.test_origins * options.origin_step
    return build_windows(dataset.panel, options, split_origins(steps, options))


def errors(problem: Problem, dataset: Windows, run: Run, folder: Path) -> dict[str, float]:
    """Return the errors on the dataset's test rows of the models that the night's stages train on its other rows."""
    context = Context(run, Settings(), folder, folder / "pages")
    dataset.save(context.artifacts / "features")
    for name in run.teachers:
        teach.run(context, name)
    for name in run.students:
        distil.run(context, name)
    rows = dataset.splits["test"]
    truth = dataset.target(rows)

    def output(path: Path) -> Floats:
        return OnnxModel(path.read_bytes()).run(dataset.batches(rows))

    known = load_knowledge(context.artifacts / "teachers", run.ensemble)
    weights = member_weights(problem, dataset, known.soft, run.ensemble)
    teachers = problem.ensemble([output(context.artifacts / "teachers" / name / MODEL) for name in known.soft], weights)
    students = {name: output(context.artifacts / "students" / name / "student.onnx") for name in run.students}
    outputs = {"naive": problem.naive(dataset, rows), "teachers": teachers, **students}
    return {name: problem.score(values, truth).error for name, values in outputs.items()}


if __name__ == "__main__":
    program(main)
