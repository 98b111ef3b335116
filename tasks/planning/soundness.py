"""Whether what a section asks for exists and fits together; without running anything."""

from itertools import product
from pathlib import Path

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
from tasks.gates.further import parse_gates
from tasks.gates.segments import check_columns
from tasks.problems import get_problem
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
        check_students(problem, section.teachers, section.students)
        check_processes(problem, section.teachers, section.students)
        check_kept(problem, section.teachers, section.students, refit=bool(section.refit))
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
    except ConfigError as error:
        raise ConfigError(f"{file}: workloads.{name}.{error}") from error
