"""Not every model can be trained by several processes: what cannot is refused before a night begins."""

from collections.abc import Mapping

from tasks.core.errors import ConfigError
from tasks.distillation.options import Student, Teacher
from tasks.distillation.parts import parts_of
from tasks.distillation.processes import require_divisible
from tasks.distillation.teacher import SelfTrained
from tasks.problems.base import Problem
from tasks.problems.models import build_model


def check_processes(problem: Problem, teachers: Mapping[str, Teacher], students: Mapping[str, Student]) -> None:
    """Raise ConfigError naming a model that several processes shall train and cannot.

    Models that fit themselves, such as trees, do so in one; batch normalisation and terms on features need whole
    batches.
    """
    for name, teacher in teachers.items():
        if teacher.world == 1:
            continue
        model = build_model(teacher.model, problem.draft_contract())
        if isinstance(model, SelfTrained):
            raise ConfigError(
                f"teachers.{name}: a {teacher.model.kind} fits itself, in one process; "
                f"set resources.teach@{name}: {{processes: 1, nodes: 1}}"
            )
        require_divisible(f"resources.teach@{name}", model)
    for name, student in students.items():
        if student.world > 1:
            specs = [student.model, *([student.assistant.model] if student.assistant else [])]
            features = student.distilled and bool(parts_of(problem, student).aligned)
            for spec in specs:
                model = build_model(spec, problem.draft_contract())
                require_divisible(f"resources.distil@{name}", model, features=features)
