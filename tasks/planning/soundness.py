"""Whether what a section asks for exists and fits together; without running anything."""

import os
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import product
from pathlib import Path

import polars as pl

from tasks.compression.chain import parse_chain
from tasks.compression.search.space import parse_space
from tasks.compression.traits import traits_of
from tasks.config.workload import Workload
from tasks.core.errors import ConfigError
from tasks.core.params import PARAMS_FILE
from tasks.distillation.divided import check_processes
from tasks.distillation.kept import check_kept
from tasks.distillation.parts import check_students
from tasks.distillation.refit import check_refit
from tasks.gates.calibration import check_calibration
from tasks.gates.diversity import check_floors
from tasks.gates.drift import profiled
from tasks.gates.further import parse_gates
from tasks.gates.segments import check_columns
from tasks.pipeline.resources import TRAINING, Resources, cores
from tasks.problems import get_problem
from tasks.problems.base import FeatureContract, Problem, Since
from tasks.problems.models import build_model
from tasks.tables.sources import get_source


def require_sound(name: str, section: Workload, project: Path, file: str = PARAMS_FILE) -> None:
    """Raises ConfigError naming the field of problem, source, students, recipes or gates that is wrong.

    `project`: folder that relative paths start from. `file`: what the message calls the section's file.
    """
    problem = get_problem(section.problem)
    get_source(section.source, problem.tables(), name, project)
    try:
        if problem.segment_columns is not None:
            check_columns(section.gates.segments.by, problem.segment_columns)
        check_calibration(section.gates.calibration, problem.calibrated_by)
        if section.gates.parity.overlap is not None and type(problem).named is Problem.named:
            raise ConfigError(f"gates.parity.overlap: outputs of {problem.kind} name nothing; leave it out")
        check_floors(section.gates.floors, problem.metrics)
        check_students(problem, section.teachers, section.students)
        check_processes(problem, section.teachers, section.students)
        check_kept(problem, section.teachers, section.students, refit=bool(section.refit))
        _require_comparable(problem, section)
        if section.refit:
            check_refit(problem, section.teachers, section.students)
        contract = problem.draft_contract()
        drafts = {key: build_model(item.model, contract) for key, item in section.students.items()}
        students = {key: traits_of(model) for key, model in drafts.items()}
        for recipe_name, recipe in section.recipes.items():
            chain = parse_chain(recipe_name, recipe, students)
            for step, model in product(chain.before_export, drafts.values()):
                try:
                    step.require(model)
                except ConfigError as error:
                    raise ConfigError(f"recipes.{recipe_name}.steps: {error}") from error
            parse_space(recipe_name, recipe.search.space if recipe.search else (), students)
        parse_gates(section.gates.further)
        if section.shadow_nights:
            _require_outcomes(problem, contract)
    except ConfigError as error:
        raise ConfigError(f"{file}: workloads.{name}.{error}") from error


def _require_comparable(problem: Problem, section: Workload) -> None:
    """Raise ConfigError where a teacher shall be kept until its data move, and no column would tell."""
    named = [name for name, teacher in section.teachers.items() if teacher.until_drift is not None]
    if named and not any(map(profiled, problem.tables())):
        raise ConfigError(f"teachers.{named[0]}.until_drift: no column of this source can be compared; leave it out")


def _require_outcomes(problem: Problem, contract: FeatureContract) -> None:
    """Raise ConfigError where no truth can be joined with predictions: nobody could judge a candidate in shadow."""
    nothing = Since(date(2000, 1, 1), date(2000, 1, 2), {}, dict)
    try:
        problem.outcomes(pl.DataFrame(), nothing, contract)
    except ConfigError as error:
        raise ConfigError(f"shadow_nights: {error}") from error
    except Exception:  # noqa: BLE001 it was asked with nothing: whatever else it says is no matter of the options
        return


def remarks(section: Workload, stages: Iterable[str]) -> Iterator[str]:
    """Say of a sound section what makes its nights slow: more threads than there are cores for them."""
    threads, limits = section.threads, Resources(section.resources)
    if threads > cores():
        yield f"threads: {threads}, but there are {cores()} cores here; more threads than cores make a stage slower"
    elif threads * limits.processes > cores() and not limits.nodes:
        yield (
            f"resources: {limits.processes} processes of {threads} threads, but there are {cores()} cores here; more "
            "threads than cores make a stage slower"
        )
    runner = section.runner or os.environ.get("NIGHTSTILL_RUNNER") or "process"
    for name, nodes in limits.nodes.items():
        if runner != "kubernetes":
            yield (
                f"resources.{name}.nodes: {nodes} machines are the runner kubernetes' with Kubeflow's Trainer, and the "
                f"runner is {runner}; here all processes run on this machine, and Airflow refuses the workload"
            )
    for part in ("teachers", "students"):
        for name, network in getattr(section, part).items():
            if network.nodes > 1 and network.training and network.training.batch_size % network.world:
                yield (
                    f"{part}.{name}.training.batch_size: {network.world} processes divide "
                    f"{network.training.batch_size} rows unevenly, and all wait for the slowest; choose a multiple"
                )
    kept = [name for name in stages if name.partition("@")[0] in TRAINING and limits.of(name).cpus < threads]
    if threads > 1 and kept:
        yield (
            f"threads: {threads}, but a container of {kept[0]} has {limits.of(kept[0]).cpus:g} cpus under the runners "
            "docker and kubernetes; set resources.default.cpus"
        )
