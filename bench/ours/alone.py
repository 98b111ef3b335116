"""Models side by side, each trained alone: `python -m bench.ours.alone --set walmart`, in the task environment.

What a kind of model is worth by itself: no teachers, no compression; see alone.yaml. A line a model is printed, and
with `--refit` another one: trained again with all rows before those of the test, for as many trees or epochs.
`--back 1 --back 2` asks sets of the benchmark as they were earlier: windows to choose by, as they end before the test.
"""

import time
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import torch
import typer
import yaml

from bench.metrics import score
from bench.ours.adapt import forecasts_of
from bench.ours.nights import prepare, settings_of
from bench.processes import program
from bench.sets import PROJECT, load
from tasks.compression.export import export_onnx
from tasks.compression.timing import measure_all
from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.config import Spec
from tasks.core.errors import UsageError
from tasks.core.settings import Settings
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.student import training_data
from tasks.distillation.trainer import History, predict, set_up, train
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Inputs, Problem
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.weights import count_parameters
from tasks.problems.models import build_model
from tasks.stages import features, snapshot, validate
from tasks.stages.context import Context

CHOICES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("alone.yaml").read_text())["sets"]
TREES = "lightgbm"
ROUNDS = 60


class Ground(NamedTuple):
    """A Ground is what models of a set are trained on; `test`: model -> its error on test windows."""

    run: Run
    dataset: Dataset
    problem: Problem
    test: Callable[[torch.nn.Module], float]


def main(
    sets: Annotated[list[str] | None, typer.Option("--set", help=f"Of {', '.join(CHOICES)}. Default: all.")] = None,
    models: Annotated[list[str] | None, typer.Option("--model", help="Default: all of the set.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    backs: Annotated[list[int] | None, typer.Option("--back", min=0, help="See above. Default: 0, as it is.")] = None,
    *,
    refit: Annotated[bool, typer.Option("--refit", help="Also train each again with the newest rows.")] = False,
) -> None:
    """Print of each model: validation and test error, weights, bytes, seconds of the processor, and time of a call."""
    for name, back in product(sets or CHOICES, backs or [0]):
        if name not in CHOICES:
            raise UsageError(f"no set: {name}; there are: {', '.join(CHOICES)}")
        if back and "as_of" in CHOICES[name]:
            raise UsageError(f"--back: {name} is a workload; its earlier stretches: bench.stretches {name}")
        with TemporaryDirectory(prefix="nightstill-alone-") as folder:
            ground = _ground(name, seed, Path(folder), back)
            where = f"{name}, {back} back" if back else name
            files: dict[str, bytes] = {}
            for kind in models or CHOICES[name]["models"]:
                began = time.process_time()
                spec, training = choice_of(name, kind)
                spec = ground.run.teachers[kind].model if kind == TREES else spec
                model, valid, history = trained(ground.dataset, ground.problem, spec, training, seed)
                seconds, weights = time.process_time() - began, count_parameters(model)
                files[kind] = exported(model, ground.dataset)
                typer.echo(
                    f"{where} {kind}: validation {valid:.4f}, test {ground.test(model):.4f}, "
                    f"{weights} weights, {len(files[kind])} bytes, {seconds:.0f} s"
                )
                if refit:
                    newest = trained_again(ground.dataset.newest(), ground.problem, spec, training, seed, history)
                    typer.echo(f"{where} {kind}: again with the newest rows: test {ground.test(newest):.4f}")
            for kind, times in beside(files, ground.dataset).items():
                typer.echo(f"{where} {kind}: {times:.2f} times the call of {next(iter(files))}")


def exported(model: torch.nn.Module, dataset: Dataset) -> bytes:
    """Return the model's file."""
    return export_onnx(model, dataset.contract, dataset.inputs(dataset.splits["valid"][:2]))


def beside(files: Mapping[str, bytes], dataset: Dataset) -> dict[str, float]:
    """Return the time of a call with one row, as a ratio to that of the first file, all measured in turns."""
    inputs = dataset.inputs(dataset.splits["valid"][:1])
    found = measure_all(list(files.values()), inputs, batch=1, threads=1, rounds=ROUNDS)
    return {kind: latency.ratio_p50 / found[0].ratio_p50 for kind, latency in zip(files, found, strict=True)}


def choice_of(name: str, kind: str) -> tuple[Spec, Training]:
    """Return a set's model of a kind and its training; that of trees says nothing."""
    options = dict(CHOICES[name]["models"][kind])
    training = Training(**{**CHOICES[name]["training"], **options.pop("training", {})})
    return Spec(kind=kind, **options), training


def trained(
    dataset: Dataset, problem: Problem, spec: Spec, training: Training, seed: int
) -> tuple[torch.nn.Module, float, History]:
    """Return a model, trained on the truth alone, its validation error, and how it was trained."""
    set_up(seed, threads=1)
    learn, valid = dataset.splits["train"], dataset.splits["valid"]
    model: Any = build_model(spec, dataset.contract)
    if spec.kind == TREES:
        history = History(valid=model.eval().fit(dataset, learn, valid, seed=seed), settled=model.settled)
    else:
        history = train(model, training_data(dataset, problem), _truth(dataset, problem), training, seed=seed)
    return model, problem.score(predict(model, dataset, valid), dataset.target(valid)).error, history


def trained_again(
    newest: Dataset, problem: Problem, spec: Spec, training: Training, seed: int, history: History
) -> torch.nn.Module:
    """Return a model that learned from the newest rows too, for as many trees or epochs as before."""
    set_up(seed, threads=1)
    model: Any = build_model(spec, newest.contract)
    if spec.kind == TREES:
        model.eval().fit_again(newest, newest.splits["train"], history.settled, seed=seed)
    else:
        ends = history.best + 1
        train(model, training_data(newest, problem), _truth(newest, problem), training, seed=seed, ends=ends)
    return model  # type: ignore[no-any-return]


def _truth(dataset: Dataset, problem: Problem) -> Objective:
    return Objective(dataset, problem.hard_loss(dataset.contract))


def _ground(name: str, seed: int, folder: Path, back: int) -> Ground:
    if "as_of" in CHOICES[name]:
        return _of_workload(name, folder)
    data = load(name).earlier(back) if back else load(name)
    run = settings_of(data, seed, 1)
    _, windows = prepare(data.sealed(), run, folder)

    def test(model: torch.nn.Module) -> float:
        names = inputs_of(model, windows.contract.inputs)

        def call(inputs: Inputs) -> Any:
            with torch.no_grad():
                return model(*(torch.from_numpy(inputs[name]) for name in names)).numpy()

        error: float = score(data, forecasts_of(windows, data, call, names))[data.metric]
        return error

    return Ground(run, windows, get_problem(run.problem), test)


def _of_workload(name: str, folder: Path) -> Ground:
    """Take the rows of a workload as of the day that the choice names, as its night does."""
    section = load_workload(PROJECT / "params.yaml", name)
    run = Run(**dict(section), workload=name, as_of=CHOICES[name]["as_of"], champion=0)
    context = Context(run, Settings(), folder, folder / "pages")
    for stage in (snapshot, validate, features):
        stage.run(context)
    problem = get_problem(run.problem)
    dataset = problem.load(context.artifacts / "features")
    rows = dataset.splits["test"]
    return Ground(
        run, dataset, problem, lambda model: problem.score(predict(model, dataset, rows), dataset.target(rows)).error
    )


if __name__ == "__main__":
    program(main)
