"""This module runs the stages of a workload of rows, as they run at night, in a folder of their own."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from tasks.config.run import Run
from tasks.config.workload import load_workload
from tasks.core.files import RUN_FILE, read_json
from tasks.core.settings import Settings
from tasks.distillation.trainer import set_up
from tasks.problems import get_problem
from tasks.problems.base import Dataset, Problem
from tasks.stages import compress, distil, evaluate, features, refit, snapshot, teach, validate
from tasks.stages.context import Context

PROJECT = Path(__file__).resolve().parents[2]
WORKLOADS = ("churn", "customers", "price")
AS_OF = date(2026, 11, 28)
"""`customers` shows a set of the past as if it ended on this day; the other tables are the same on every day."""
DONE, CHECKPOINTS = ".done", "checkpoints"


@dataclass(frozen=True)
class Night:
    """A Night is a run of a workload's stages in `context.root`, whose results are kept: each stage runs once.

    A training that was broken off goes on after its last epoch; its seconds are those of the process that ended it.
    """

    context: Context

    @property
    def problem(self) -> Problem:
        """Return the workload's kind of learning."""
        return get_problem(self.context.run.problem)

    def dataset(self) -> Dataset:
        """Return the night's rows."""
        return self.problem.load(self.context.artifacts / "features")

    def teach(self) -> None:
        """Fetch the data, check them, make rows, train the teachers."""
        for stage in (snapshot, validate, features):
            self._once(stage)
        for name in self.context.run.teachers:
            self._once(teach, name)

    def compress(self) -> None:
        """Run all stages up to compress, and the last fit of a workload that has one."""
        self.teach()
        for name in self.context.run.students:
            self._once(distil, name)
        for name in self.context.run.recipes:
            self._once(compress, name)
        for name in self.context.run.code.refit:
            self._once(refit, name)

    def judge(self) -> dict[str, Any]:
        """Run all stages up to evaluate, and return the verdict."""
        self.compress()
        self._once(evaluate)
        verdict: dict[str, Any] = read_json(self.context.artifacts / "evaluation" / "verdict.json")
        return verdict

    def seconds(self) -> dict[str, float]:
        """Return the processor's seconds of each stage that has run."""
        marks = sorted(self.context.root.glob(f"*{DONE}"))
        return {mark.name.removesuffix(DONE): float(mark.read_text() or 0) for mark in marks}

    def _once(self, stage: Any, name: str | None = None) -> None:
        label = stage.__name__.rpartition(".")[2] + (f"@{name}" if name else "")
        mark = self.context.root / f"{label}{DONE}"
        if not mark.is_file():
            logging.getLogger(__name__).info("%s: %s", self.context.run.workload, label)
            begun = time.process_time()
            checkpoints = self.context.root / CHECKPOINTS / label
            with _inside(self.context.root):
                stage.run(replace(self.context, checkpoints=str(checkpoints)), name)
            mark.write_text(f"{time.process_time() - begun:.1f}")
            shutil.rmtree(checkpoints, ignore_errors=True)


def night_of(workload: str, folder: Path, seed: int | None = None) -> Night:
    """Return a workload's night in a folder, begun or not, with another seed if one is given."""
    section = load_workload(PROJECT / "params.yaml", workload).model_dump(mode="json")
    return night_of_section(workload, section | ({} if seed is None else {"seed": seed}), folder)


def night_of_section(
    workload: str, section: dict[str, Any], folder: Path, as_of: date = AS_OF, project: Path = PROJECT
) -> Night:
    """Return the night of a workload's section in a folder, begun or not."""
    run = Run(**section, workload=workload, as_of=as_of, champion=0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN_FILE).write_text(run.to_yaml())
    set_up(run.seed, run.threads)
    return Night(
        Context(run, Settings(project=project.resolve()), folder.resolve(), folder.resolve() / "pages", run_id="bench")
    )


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, as a stage does."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
