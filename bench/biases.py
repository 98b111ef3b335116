"""Does a mean that is too high on validation rows stay so? Nights side by side, each with a twin of its own.

    python -m bench.biases sales --as-of 2026-11-28 --count 13

Of nights `days` apart, the first as of that day, the twin is trained, on the truth alone. A line a night tells the bias
of its mean on validation rows, on test rows, and on test rows had it been multiplied by what it lacked on validation
rows. The last lines tell the mean size of both, and how the bias on validation rows goes with that on test rows.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console

from bench.gallery import night, rows_of
from bench.processes import program
from tasks.compression.runtime import OnnxModel
from tasks.config.run import Run
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.problems import get_problem
from tasks.problems.base import Floats
from tasks.problems.forecasting.dataset import Windows
from tasks.problems.forecasting.problem import Forecasting
from tasks.stages import distil
from tasks.stages.context import Context

TWIN = "twin"


class Biases(NamedTuple):
    """A mean's bias on validation and test rows, and on these after the factor that leaves none on validation rows."""

    valid: float
    test: float
    corrected: float


def main(
    workload: Annotated[str, typer.Argument(help="One that forecasts a mean, of params.yaml or workloads/.")],
    as_of: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first night's day.")],
    count: Annotated[int, typer.Option(min=1, help="Nights.")] = 13,
    days: Annotated[int, typer.Option(min=1, help="From one night to the next.")] = 14,
) -> None:
    """Print the biases of each night, and what they have in common."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING)
    found = []
    for place in range(count):
        run = night(workload, (as_of + place * timedelta(days=days)).date())
        found.append(measured(run))
        valid, test, corrected = found[-1]
        console.print(f"{run.as_of}: validation {valid:+.1%}, test {test:+.1%}, corrected {corrected:+.1%}")
    console.print(f"{workload}: {told(found)}")


def measured(run: Run) -> Biases:
    """Train the night's twin and return the biases of its mean. Raises ConfigError without a mean or a twin."""
    problem = get_problem(run.problem)
    if not isinstance(problem, Forecasting) or not problem.options.mean:
        raise ConfigError(f"{run.workload}: it forecasts no mean; name a forecasting workload that does")
    if TWIN not in run.students or run.students[TWIN].alpha != 1:
        raise ConfigError(f"{run.workload}: students has no {TWIN} with alpha: 1, which learns without teachers")
    dataset = rows_of(problem, run)
    assert isinstance(dataset, Windows)
    with TemporaryDirectory() as folder:
        context = Context(run, Settings(), Path(folder), Path(folder) / "pages")
        dataset.save(context.artifacts / "features")
        (context.artifacts / "teachers").mkdir()
        distil.run(context, TWIN)
        model = OnnxModel((context.artifacts / "students" / TWIN / "student.onnx").read_bytes())
    valid, test = dataset.splits["valid"], dataset.splits["test"]
    return biases(*((dataset.target(rows), model.run(dataset.batches(rows))) for rows in (valid, test)))


def biases(valid: tuple[Floats, Floats], test: tuple[Floats, Floats]) -> Biases:
    """Return the biases of the last output: of each split the target (n, horizon), or NaN, and the outputs."""
    high, later = (ratio(*split) for split in (valid, test))
    return Biases(high - 1, later - 1, later / high - 1)


def ratio(target: Floats, output: Floats) -> float:
    """Return the sum of forecasts over that of the truth, where it is known."""
    known = np.isfinite(target)
    return float(output[:, :, -1][known].sum(dtype=np.float64) / target[known].sum(dtype=np.float64))


def told(found: Sequence[Biases]) -> str:
    """Return in a line what nights have in common."""
    valid, test, corrected = np.array(found).T
    sizes = f"test {np.abs(test).mean():.1%} off on average, corrected {np.abs(corrected).mean():.1%}"
    return f"{sizes}, correlation of validation and test {np.corrcoef(valid, test)[0, 1]:+.2f}"


if __name__ == "__main__":
    program(main)
