"""A practitioner's LightGBM beside a night: tuned on its validation rows, measured on its test rows.

    python -m bench.gallery power --as-of 2026-11-28

makes the rows, features and splits of that night, which are the same whoever makes them. Of each setting (leaves; of
forecasts also how many newest values are seen) a LightGBM is fitted on all training rows, with early stopping on the
validation rows. The best by validation error predicts the test rows, once.
"""

import logging
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import nn

from bench.processes import program
from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.core.params import params_place
from tasks.core.settings import Settings
from tasks.distillation.trainer import predict
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Problem, Split
from tasks.problems.models import build_model, trees
from tasks.stages import features, snapshot
from tasks.stages.context import Context

HOURS_A_DAY = 24


def main(
    workload: Annotated[str, typer.Argument(help="Of params.yaml or workloads/.")],
    as_of: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The night's day.")],
    samples: Annotated[int, typer.Option(help="Of forecasts: steps that are learned from.")] = 60_000,
) -> None:
    """Print each setting's validation error, and the test error of the best."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING)
    run = night(workload, as_of.date())
    torch.set_num_threads(run.threads)
    problem = get_problem(run.problem)
    dataset = rows_of(problem, run)
    began, best, found = time.process_time(), float("inf"), None
    for options in settings(run, samples):
        model = fitted(dataset, options, run)
        error = error_of(problem, dataset, model, "valid")
        console.print(f"{options}: validation {problem.primary_metric} {error:.5f}")
        if error < best:
            best, found = error, model
    assert found is not None
    test = error_of(problem, dataset, found, "test")
    seconds = time.process_time() - began
    console.print(
        f"{workload}: LightGBM {problem.primary_metric} {test:.5f} on test rows, {seconds:.0f} s of a processor"
    )


def night(workload: str, as_of: date) -> Run:
    """Return the run of a first night."""
    section = load_workload(params_place(Settings().project), workload)
    return Run(**dict(section), workload=workload, as_of=as_of, champion=0)


def rows_of(problem: Problem, run: Run) -> Dataset:
    """Return the night's dataset, made as its stages make it."""
    with TemporaryDirectory() as folder:
        context = Context(run, Settings(), Path(folder), Path(folder, "pages"))
        snapshot.run(context)
        features.run(context)
        return problem.load(context.artifacts / "features")


def settings(run: Run, samples: int) -> Iterator[dict[str, Any]]:
    """Yield the options that a practitioner would try."""
    if "lightgbm" not in trees(run.problem.kind):
        raise ConfigError(f"{run.workload}: no LightGBM for {run.problem.kind}")
    few, many = (7, 31) if run.problem.options.get("frequency") == "1b" else (15, 63)
    for leaves in (few, many):
        base = {"trees": 400, "leaves": leaves, "learning_rate": 0.05}
        if run.problem.kind != "forecasting":
            yield base
            continue
        hourly = run.problem.options.get("frequency") == "1h"
        for lags in (3, HOURS_A_DAY):
            day = [HOURS_A_DAY] if hourly and run.problem.options["season"] != HOURS_A_DAY else []
            yield {**base, "samples": samples, "lags": lags, "seasons": day}


def fitted(dataset: Dataset, options: dict[str, Any], run: Run) -> nn.Module:
    """Return trees that learned from all training rows."""
    model: Any = build_model(Spec(kind="lightgbm", **options), dataset.contract)
    model.fit(dataset, dataset.splits["train"], dataset.splits["valid"], seed=run.seed)
    return model.eval()  # type: ignore[no-any-return]


def error_of(problem: Problem, dataset: Dataset, model: nn.Module, split: Split) -> float:
    """Return the workload's own error on a split's rows."""
    rows = dataset.splits[split]
    return problem.score(predict(model, dataset, rows), dataset.target(rows)).error


if __name__ == "__main__":
    program(main)
