"""Not everything can be trained again with the newest rows: what cannot is refused before a night begins."""

from collections.abc import Mapping

from tasks.core.errors import ConfigError
from tasks.distillation.options import Student, Teacher
from tasks.distillation.parts import parts_of
from tasks.distillation.teacher import FitsAgain, SelfTrained
from tasks.problems.base import Problem
from tasks.problems.models import build_model


def check_refit(problem: Problem, teachers: Mapping[str, Teacher], students: Mapping[str, Student]) -> None:
    """Raise ConfigError naming what of a workload with `refit` is not trained again.

    Teachers that fit themselves must be able to do so without validation rows. Assistants, terms on teachers' features,
    and rows that teachers label, are not made anew.
    """
    if not problem.refits:
        raise ConfigError(f"refit: rows of {problem.kind} are not trained on again; leave it out")
    for name, teacher in teachers.items():
        model = build_model(teacher.model, problem.draft_contract())
        if isinstance(model, SelfTrained) and not isinstance(model, FitsAgain):
            raise ConfigError(
                f"refit: teachers.{name}: a {teacher.model.kind} does not fit itself again; leave one out"
            )
    for name, student in students.items():
        if student.distilled and student.assistant is not None:
            raise ConfigError(f"refit: students.{name}.assistant is not trained again; leave one of both out")
        if student.distilled and parts_of(problem, student).synthesis is not None:
            raise ConfigError(f"refit: students.{name}.augment: made rows are not labelled again; leave one out")
        if student.distilled and parts_of(problem, student).aligned:
            raise ConfigError(
                f"refit: students.{name}.terms: teachers' features are not made again; leave one of both out"
            )
