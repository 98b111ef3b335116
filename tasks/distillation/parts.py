"""The parts that a student's section names are checked and made before anything is trained."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn

from tasks.core.config import Spec, pick
from tasks.core.errors import ConfigError
from tasks.core.loader import Kinds
from tasks.distillation.adaptive import ADAPTATIONS, LEAST, Adaptation, Correctness, Learned
from tasks.distillation.alignment import ALIGNMENTS, FeatureTerm
from tasks.distillation.muon import is_filter
from tasks.distillation.options import Assistant, Student, Teacher, Training
from tasks.distillation.schedule import SCHEDULES, Schedule
from tasks.distillation.start import needs_start, start_from
from tasks.distillation.teacher import Forest, SelfTrained, augmentation
from tasks.problems.base import Augment, Problem, SoftLoss, Synthesis
from tasks.problems.blocks.features import shows
from tasks.problems.blocks.weights import save_weights
from tasks.problems.models import build_model, models, trees

NONE = "none"


@dataclass(frozen=True)
class Parts:
    """Parts holds a student's distillation; `losses` compare outputs, `aligned` features, each with its weight.

    Of `augment` (rows that are changed) and `synthesis` (rows that are made, and labelled by teachers) there is one.
    """

    losses: tuple[tuple[float, SoftLoss], ...]
    aligned: tuple[tuple[float, FeatureTerm], ...]
    schedule: Schedule | None
    augment: Augment | None
    synthesis: Synthesis | None = None
    adapt: Adaptation | None = None


def parts_of(problem: Problem, student: Student) -> Parts:
    """Return the parts that `student` names.

    Raises ConfigError naming the field: an unknown kind or option, a temperature that nothing uses, nothing to learn
    from the teacher, weights that two fields would move, or features compared under an augmentation that changes what
    they are of.
    """
    offered = problem.strategies()
    further = pick(student.augment, offered.augment, "augment") if student.augment else None
    augment, synthesis = (None, further) if isinstance(further, Synthesis) else (further, None)
    schedule = pick(student.schedule, SCHEDULES, "schedule") if student.schedule else None
    adapt = _adaptation(student)
    terms = Kinds("losses", {**offered.terms, **ALIGNMENTS}, SoftLoss, problem.kind)
    losses: list[tuple[float, SoftLoss]] = [(1.0, soft)] if (soft := _soft(problem, student)) else []
    aligned: list[tuple[float, FeatureTerm]] = []
    for number, term in enumerate(student.terms):
        field = f"terms.{number}"
        terms.find(term.kind, f"{field}.kind")
        part = pick(term, terms, field)
        if isinstance(part, FeatureTerm):
            aligned.append((term.weight, part))
        else:
            losses.append((term.weight, part))
    if student.distilled and not losses and not aligned:
        raise ConfigError("soft: none, and no terms, leave nothing to learn from the teacher; set alpha to 1")
    if student.assistant is not None and synthesis is not None:
        raise ConfigError("augment: made rows have the teachers' labels, not the assistant's; leave one of both out")
    if aligned and augment and not augment.keeps_label:
        raise ConfigError(
            "augment: the teacher's features are those of the unchanged window; leave out the terms on features, or "
            "take a kind that keeps the label"
        )
    if augment and (placed := next((term.of for _, term in aligned if term.of != "features"), None)):
        raise ConfigError(
            f"augment: the teacher's {placed} {'is' if placed == 'attention' else 'are'} of places of the unchanged "
            f"image; leave out the term on {placed} or augment"
        )
    return Parts(tuple(losses), tuple(aligned), schedule, augment, synthesis, adapt)


def _adaptation(student: Student) -> Adaptation | None:
    """Return how the weights adapt. Raises ConfigError where another field moves the same ones."""
    if student.adapt is None:
        return None
    adapt: Adaptation = pick(student.adapt, ADAPTATIONS, "adapt")
    if isinstance(adapt, Correctness) and student.attenuate:
        raise ConfigError("attenuate: it does by group what adapt does by row; leave one of both out")
    if isinstance(adapt, Learned):
        for field, given in (("schedule", student.schedule), ("attenuate", student.attenuate)):
            if given:
                raise ConfigError(f"{field}: the weights are learned (adapt); leave one of both out")
        if student.distilled and not LEAST <= student.alpha <= 1 - LEAST:
            raise ConfigError(f"alpha: learned weights (adapt) begin there; write {LEAST} to {1 - LEAST}")
    return adapt


def _soft(problem: Problem, student: Student) -> SoftLoss | None:
    ours = problem.strategies().soft
    kinds = Kinds("losses", ours, SoftLoss, problem.kind)
    spec = student.soft or Spec(kind=next(iter(ours), NONE))
    if spec.kind == NONE:
        if spec.options:
            raise ConfigError(f"soft: kind none has no options, got {', '.join(spec.options)}")
        return None
    fields = kinds.find(spec.kind, "soft.kind").model_fields if spec.kind in kinds else {}
    if "temperature" in fields:
        spec = Spec.model_validate({"kind": spec.kind, "temperature": student.temperature, **spec.options})
    elif spec.kind in kinds and student.temperature != 1:
        raise ConfigError(f"temperature: the soft loss {spec.kind!r} has none; leave it out")
    soft: SoftLoss = pick(spec, kinds, "soft")
    return soft


def feature_teacher(term: FeatureTerm, keepers: Collection[str]) -> str:
    """Return the name of the teacher whose features `term` reads, one of their `keepers`. Raises ConfigError."""
    if term.teacher in keepers or (term.teacher is None and len(keepers) == 1):
        return term.teacher or next(iter(keepers))
    if not keepers or term.teacher is not None:
        who = f"teachers.{term.teacher}" if term.teacher else "a teacher"
        raise ConfigError(f"terms.teacher: no {term.of} of {term.teacher or 'any'}; set keep: [{term.of}] for {who}")
    raise ConfigError(f"terms.teacher: name one of those that keep {term.of}: {', '.join(sorted(keepers))}")


def check_students(problem: Problem, teachers: Mapping[str, Teacher], students: Mapping[str, Student]) -> None:
    """Check students and assistants. Raises ConfigError naming the field of one that cannot be trained."""
    known = models(problem.kind)
    for name, teacher in teachers.items():
        if teacher.model.kind not in known:
            raise ConfigError(
                f"teachers.{name}.model.kind: unknown kind {teacher.model.kind!r}; there are: {', '.join(known)}"
            )
        model = _build(problem, teacher.model, f"teachers.{name}.")
        if needs_start(model):
            kind = teacher.model.kind
            raise ConfigError(f"teachers.{name}.model.kind: a {kind} starts from a teacher; it can be a student only")
        trained = not isinstance(model, SelfTrained)
        if (teacher.training is None) == trained:
            what = "is a network; say how it is trained" if teacher.training is None else "fits itself; leave it out"
            raise ConfigError(f"teachers.{name}.training: a {teacher.model.kind} {what}")
        _check_muon(f"teachers.{name}.", teacher.training, model, teacher.model.kind)
        _check_kept(f"teachers.{name}.keep: a {teacher.model.kind}", teacher, model)
        if teacher.augment and not trained:
            raise ConfigError(f"teachers.{name}.augment: a {teacher.model.kind} fits itself; leave it out")
        try:
            augmentation(problem, teacher)
        except ConfigError as error:
            raise ConfigError(f"teachers.{name}.{error}") from error
    for name, student in students.items():
        try:
            _check(problem, teachers, student)
        except ConfigError as error:
            raise ConfigError(f"students.{name}.{error}") from error


def _check_muon(prefix: str, training: Training | None, model: nn.Module, kind: str) -> None:
    """Raise ConfigError when Muon is asked for and the model has no filters that it could train."""
    if training is not None and training.muon is not None and not any(map(is_filter, model.parameters())):
        raise ConfigError(f"{prefix}training.muon: a {kind} has no filters of convolutions; leave it out")


def _check_kept(who: str, teacher: Teacher, model: nn.Module) -> None:
    """Raise ConfigError when a teacher keeps what its model has not."""
    # Of those that fit themselves some have weights, such as EASE's product of items by items; trees have none.
    weighed = any(True for _ in model.parameters()) and not isinstance(model, Forest)
    shown = [each for each in teacher.keep if each != "weights"]
    if isinstance(model, SelfTrained) and (shown or (teacher.keep and not weighed)):
        raise ConfigError(f"{who} has neither features nor weights of a network; leave it out")
    if lacking := [each for each in shown if not shows(model, each)]:
        raise ConfigError(f"{who} has no {lacking[0]} to keep; leave it out")


def _check(problem: Problem, teachers: Mapping[str, Teacher], student: Student) -> None:
    built = [_network(problem, student, "")]
    if student.assistant:
        built.append(_network(problem, student.assistant, "assistant."))
    for _, term in parts_of(problem, student).aligned:
        feature_teacher(term, [name for name, teacher in teachers.items() if term.of in teacher.keep])
        for who, model in built:
            if not shows(model, term.of):
                raise ConfigError(f"{who} has no {term.of} to align; leave the term out")
    for who, model in built[student.start_from is not None and student.distilled :]:
        if needs_start(model):
            said = "by start_from a student has them, unless alpha is 1; twins and assistants have none"
            raise ConfigError(f"{who} is nothing without a teacher's weights: {said}")
    if student.start_from is not None:
        name = student.start_from.teacher
        if name not in teachers or "weights" not in teachers[name].keep:
            raise ConfigError(f"start_from: no weights of {name}; set keep: [weights] for teachers.{name}")
        if student.distilled:
            weights = save_weights(_build(problem, teachers[name].model, f"teachers.{name}."))
            start = student.start_from
            start_from(_build(problem, student.model, ""), weights, start.layers, start.gate)


def _network(problem: Problem, of: Student | Assistant, prefix: str) -> tuple[str, nn.Module]:
    """Return the start of what may be said of its model, and the model. Raises ConfigError unless it is a network."""
    networks = [kind for kind in models(problem.kind) if kind not in trees(problem.kind)]
    kind = of.model.kind
    if kind not in networks:
        raise ConfigError(f"{prefix}model.kind: unknown kind {kind!r}; there are: {', '.join(networks)}")
    who, model = f"{prefix}model.kind: a {kind}", _build(problem, of.model, prefix)
    if isinstance(model, SelfTrained):
        raise ConfigError(f"{who} fits itself, and a student is a network")
    _check_muon(prefix, of.training, model, kind)
    return who, model


def _build(problem: Problem, model: Spec, prefix: str) -> nn.Module:
    """Make a model once for nothing, hours before its turn: only a model reads its options."""
    try:
        return build_model(model, problem.draft_contract())
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from error
