"""Compare ways of weighing truth and teacher: `python -m bench.rows.adaptive --out DIR`, in the task environment.

The teachers of each workload are trained once, then its student with each alpha of FIXED and each of ADAPTED, by five
seeds: first weights and the order of rows differ, all else is the workload's own. Of the fixed alphas the best is
chosen by the mean validation error over seeds; test errors are compared with that one's, seed by seed. Each training is
one file in DIR; one that exists is not trained again.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.files import write
from bench.log import say
from bench.records import interval
from bench.rows.nights import WORKLOADS, night_of
from tasks.core.config import Spec
from tasks.core.files import read_json
from tasks.distillation.knowledge import load_knowledge
from tasks.distillation.objective import Made
from tasks.distillation.options import Student
from tasks.distillation.student import fine_tuning_objective, make_rows, training_data
from tasks.distillation.trainer import predict, set_up, train
from tasks.problems.base import Dataset, Floats, Problem
from tasks.problems.models import build_model

FIXED: Mapping[str, Mapping[str, Any]] = {f"alpha {alpha}": {"alpha": alpha} for alpha in (0.1, 0.3, 0.5, 0.7, 0.9)}
ADAPTED: Mapping[str, Mapping[str, Any]] = {
    "gap": {"alpha": 0.0, "adapt": Spec(kind="gap")},
    "correctness": {"alpha": 0.0, "adapt": Spec(kind="correctness")},
    "learned": {"alpha": 0.5, "adapt": Spec(kind="learned")},
}
TWIN: Mapping[str, Mapping[str, Any]] = {"twin": {"alpha": 1.0}}
WAYS = {**FIXED, **ADAPTED, **TWIN}
SEEDS = (0, 1, 2, 3, 4)
BATCHES = 60
"""An epoch has so many batches at most: of `price` two fifths of the rows, others each time; of the others most."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class World:
    """A World is a workload with its rows and what its teachers know, loaded once for all trainings."""

    problem: Problem
    dataset: Dataset
    student: Student
    soft: Floats
    made: Made | None = None
    threads: int = 1

    def measure(self, way: str, seed: int) -> dict[str, Any]:
        """Train the student one way, and return its errors on validation and test rows."""
        problem, dataset = self.problem, self.dataset
        student = self.student.model_copy(update=dict(WAYS[way]))
        set_up(seed, self.threads)
        began = time.process_time()
        model = build_model(student.model, dataset.contract)
        objective = fine_tuning_objective(dataset, problem, student, self.soft, self.made)
        training = student.training.model_copy(update={"batches_per_epoch": BATCHES})
        history = train(model, training_data(dataset, problem), objective, training, seed=seed)
        seconds = time.process_time() - began
        rows = dataset.splits["test"]
        error = problem.score(predict(model, dataset, rows), dataset.target(rows)).error
        record = {"valid": history.valid[history.best], "test": error, "epochs": len(history.valid), "seconds": seconds}
        if objective.balance is not None:
            record["alpha"] = objective.balance.alpha
        return record


def world_of(workload: str, folder: Path) -> World:
    """Train the teachers of a workload's night in a folder, unless they are there, and return what they leave."""
    night = night_of(workload, folder)
    night.teach()
    run, problem, dataset = night.context.run, night.problem, night.dataset()
    knowledge = load_knowledge(night.context.artifacts / "teachers", run.ensemble)
    student = run.students["student"]
    made = make_rows(dataset, problem, student, knowledge, run.seed)
    return World(problem, dataset, student, knowledge.ensemble(problem, dataset), made, run.threads)


def place_of(out: Path, workload: str, way: str, seed: int) -> Path:
    """Return the file of one training."""
    return out / f"{workload}-{way.replace(' ', '-')}-{seed}.json"


def table(out: Path, workload: str) -> list[str]:
    """Return lines of a Markdown table: each way's test error against the best fixed alpha's, 95 % interval.

    A way counts by the seeds that it and the best fixed alpha have both; none without two.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for way in WAYS:
        files = {seed: place_of(out, workload, way, seed) for seed in SEEDS}
        found[way] = {seed: read_json(file) for seed, file in files.items() if file.is_file()}
    seeds = [seed for seed in SEEDS if all(seed in found[way] for way in FIXED)]
    if len(seeds) < 2:
        return []

    def mean(way: str, split: str) -> float:
        return float(np.mean([found[way][seed][split] for seed in seeds]))

    best = min(FIXED, key=lambda way: mean(way, "valid"))
    lines = []
    for way, records in found.items():
        both = [seed for seed in seeds if seed in records]
        if way == best or len(both) < 2:
            continue
        ratios = [records[seed]["test"] / found[best][seed]["test"] for seed in both]
        middle, low, high = interval(ratios)
        told = "better" if high < 1 else "worse" if low > 1 else "no difference shown"
        lines.append(f"| {workload} | {way} | {best} | {middle:.4f} | {low:.4f} … {high:.4f} | {told} |")
    return lines


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    workloads: Annotated[list[str] | None, typer.Option("--workload", help="Default: all.")] = None,
) -> None:
    """Train what is missing, then print the table."""
    say()
    chosen = workloads or list(WORKLOADS)
    worlds = {name: world_of(name, out / "nights" / name) for name in chosen}
    for seed in SEEDS:
        for name, world in worlds.items():
            for way in WAYS:
                file = place_of(out, name, way, seed)
                if not file.is_file():
                    record = world.measure(way, seed)
                    write(file, {"workload": name, "way": way, "seed": seed, **record})
                    log.info("%s, %s, seed %d: %s", name, way, seed, record)
    print("| workload | weights | best fixed | test error against its | 95 % interval | |\n|---|---|---|---|---|---|")
    for name in chosen:
        print("\n".join(table(out, name)))


if __name__ == "__main__":
    typer.run(main)
