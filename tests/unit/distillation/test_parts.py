"""What a workload's students ask for is checked before anything runs, and the field is named."""

from pathlib import Path
from typing import Any

import pytest

from tasks.config.workload import Workload, load_workload
from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.distillation.alignment import Hint
from tasks.distillation.options import Student
from tasks.distillation.parts import check_students, parts_of
from tasks.distillation.schedule import Cosine
from tasks.problems import get_problem
from tasks.problems.blocks.class_losses import Kl
from tasks.problems.forecasting.augment import Mixup
from tasks.problems.forecasting.series import Frequency, MultiScale
from tasks.problems.forecasting.soft import Absolute, Bounded
from tasks.problems.tabular.labelled.synthesis import Mixed

PARAMS = Path(__file__).parents[3] / "params.yaml"


def workload(name: str = "sales", keep: tuple[str, ...] = (), **student: Any) -> Workload:
    """A workload of params.yaml whose first network keeps something, and whose student has more fields."""
    section = load_workload(PARAMS, name).model_dump(mode="json")
    section["students"]["student"] |= student
    teacher = next(teacher for teacher in section["teachers"].values() if teacher["training"])
    teacher["keep"] = list(keep)
    return Workload.model_validate(section)


def check(section: Workload) -> None:
    check_students(get_problem(section.problem), section.teachers, section.students)


def planned(section: Workload) -> Any:
    return parts_of(get_problem(section.problem), section.students["student"])


@pytest.mark.parametrize("name", ["sales", "customers"])
def test_the_workloads_that_come_with_the_project_are_fine(name: str) -> None:
    check(load_workload(PARAMS, name))


def test_without_more_a_student_has_the_problems_own_soft_loss() -> None:
    assert planned(workload()).losses == ((1.0, Absolute()),)
    assert planned(workload("customers")).losses == ((1.0, Kl(temperature=2.0)),)


def test_everything_that_a_section_names_is_made() -> None:
    section = workload(
        keep=("features", "weights"),
        soft={"kind": "bounded", "margin": 0.1},
        terms=[{"kind": "frequency", "weight": 0.3}, {"kind": "multi-scale", "scales": [1, 7]}],
        schedule={"kind": "cosine", "from": 0.2},
        augment={"kind": "mixup"},
        start_from="lstm",
        assistant={"model": {"kind": "linear-mlp"}, "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}},
    )
    check(section)
    parts = planned(section)
    assert parts.losses == ((1.0, Bounded(margin=0.1)), (0.3, Frequency()), (1.0, MultiScale(scales=(1, 7))))
    assert parts.schedule == Cosine.model_validate({"from": 0.2}) and parts.augment == Mixup()
    features = workload(keep=("features",), terms=[{"kind": "hint", "weight": 2}], soft={"kind": "none"})
    check(features)
    assert planned(features).losses == () and planned(features).aligned == ((2.0, Hint()),)


def test_a_twin_may_repeat_the_students_section() -> None:
    twin = workload(terms=[{"kind": "frequency"}], adapt={"kind": "learned"}, alpha=1.0)
    check(twin)
    assert not twin.students["student"].distilled


HINT = [{"kind": "hint"}]
BAD_ASSISTANT = {"model": {"kind": "mlpp"}, "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"soft": {"kind": "kl"}}, r"soft\.kind: unknown kind 'kl'; there are: absolute"),
        ({"soft": {"kind": "bounded", "margni": 1}}, r"soft\.margni of kind bounded: Extra inputs"),
        ({"soft": {"kind": "none"}}, r"soft: none, and no terms"),
        ({"soft": {"kind": "none", "bins": 3}, "terms": HINT}, r"soft: kind none has no options, got bins"),
        ({"temperature": 2.0}, r"temperature: the soft loss 'absolute' has none; leave it out"),
        ({"terms": [{"kind": "frequency"}, {"kind": "wavelet"}]}, r"terms\.1\.kind: unknown kind 'wavelet'.*relation"),
        ({"terms": [{"kind": "frequency", "temperature": 0}]}, r"terms\.0\.temperature of kind frequency"),
        ({"schedule": {"kind": "steps", "from": 0}}, r"schedule\.kind: unknown kind 'steps'"),
        ({"adapt": {"kind": "guess"}}, r"adapt\.kind: unknown kind 'guess'; there are: gap, correctness, learned"),
        ({"adapt": {"kind": "gap", "by": 2}}, r"adapt\.by of kind gap: Extra inputs"),
        ({"adapt": {"kind": "correctness"}, "attenuate": True}, r"attenuate: it does by group what adapt does by row"),
        ({"adapt": {"kind": "learned"}, "attenuate": True}, r"attenuate: the weights are learned"),
        (
            {"adapt": {"kind": "learned"}, "schedule": {"kind": "linear", "from": 0}},
            r"schedule: the weights are learned",
        ),
        ({"adapt": {"kind": "learned"}, "alpha": 0}, r"alpha: learned weights \(adapt\) begin there"),
        ({"adapt": {"kind": "learned"}, "alpha": 0.99}, r"alpha: learned weights \(adapt\) begin there"),
        ({"augment": {"kind": "cutmix"}}, r"augment\.kind: unknown kind 'cutmix'; there are: jitter"),
        ({"terms": HINT}, r"terms\.teacher: no features of any; set keep: \[features\] for a teacher"),
        (
            {"terms": [{"kind": "hint", "teacher": "tcn"}], "keep": ("features",)},
            r"terms\.teacher: no features of tcn; .* teachers\.tcn",
        ),
        ({"terms": HINT, "keep": ("features",), "augment": {"kind": "mixup"}}, r"augment: the teacher's features are"),
        ({"start_from": "tcn", "keep": ("weights",)}, r"start_from: no weights of tcn; set keep: \[weights\]"),
        ({"start_from": "gru"}, r"start_from: no weights of gru"),
        ({"assistant": BAD_ASSISTANT}, r"assistant\.model\.kind: unknown kind 'mlpp'; there are: lstm"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_field_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"students\.student\.{message}"):
        check(workload(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"soft": {"kind": "absolute"}}, r"soft\.kind: unknown kind 'absolute'; there are: kl, cross-entropy, logits"),
        ({"terms": [{"kind": "frequency"}]}, r"terms\.0\.kind: unknown kind 'frequency' for tabular; there are: hint"),
        ({"augment": {"kind": "mixup"}}, r"augment\.kind: unknown kind 'mixup'; there are: none"),
        ({"soft": {"kind": "logits"}}, r"temperature: the soft loss 'logits' has none"),
    ],
)
def test_what_only_forecasts_have_is_refused_for_classes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"students\.student\.{message}"):
        check(workload("customers", **change))


def test_a_term_must_say_which_of_two_teachers() -> None:
    section = workload(keep=("features",), terms=HINT).model_dump(mode="json")
    section["teachers"]["tcn"] = {"model": {"kind": "tcn"}, "training": TRAINING, "keep": ["features"]}
    with pytest.raises(ConfigError, match=r"terms\.teacher: name one of those that keep features: lstm, tcn"):
        check(Workload.model_validate(section))


def with_teacher(**teacher: Any) -> Workload:
    section = workload().model_dump(mode="json")
    section["teachers"]["lstm"] = teacher
    return Workload.model_validate(section)


NETWORK, TREES = {"kind": "lstm"}, {"kind": "lightgbm"}
TRAINING = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}


@pytest.mark.parametrize("teacher", [{"model": NETWORK, "training": TRAINING}, {"model": TREES}])
def test_networks_are_trained_and_trees_fit_themselves(teacher: dict[str, Any]) -> None:
    check(with_teacher(**teacher))


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"model": NETWORK}, r"training: a lstm is a network; say how it is trained"),
        ({"model": TREES, "training": TRAINING}, r"training: a lightgbm fits itself; leave it out"),
        ({"model": TREES, "keep": ["features"]}, r"keep: a lightgbm has neither features nor weights of a network"),
        ({"model": {"kind": "forest"}}, r"model\.kind: unknown kind 'forest'; there are: lstm, .*, lightgbm"),
        ({"model": {"kind": "forest"}, "training": TRAINING}, r"model\.kind: unknown kind 'forest'"),
    ],
)
def test_teachers_that_cannot_be_trained_are_refused_with_the_field_named(
    teacher: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"teachers\.lstm\.{message}"):
        check(with_teacher(**teacher))


def test_trees_are_no_student_and_no_classifier_of_events() -> None:
    with pytest.raises(ConfigError, match=r"students\.student\.model\.kind: unknown kind 'lightgbm'; there are: lstm"):
        check(workload(model=TREES))
    section = workload("customers").model_dump(mode="json")
    section["teachers"]["mlp"] = {"model": TREES}
    with pytest.raises(ConfigError, match=r"teachers\.mlp\.model\.kind: lightgbm is for rows with a label"):
        check(Workload.model_validate(section))


def test_first_weights_are_named_shortly_or_by_layer() -> None:
    base = {"model": {"kind": "m"}, "training": {"epochs": 1, "batch_size": 1, "learning_rate": 0.1}, "alpha": 0.5}
    short = Student.model_validate({**base, "start_from": "lstm"}).start_from
    long = Student.model_validate({**base, "start_from": {"teacher": "lstm", "layers": {"skip": "decoder.skip"}}})
    assert short is not None and (short.teacher, short.layers) == ("lstm", {})
    assert long.start_from is not None and long.start_from.layers == {"skip": "decoder.skip"}
    assert Student.model_validate(long.model_dump(mode="json")) == long


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "linear-mlp", "hidden": 0}, r"students\.student\.model\.hidden of kind linear-mlp: .*greater than 0"),
        ({"kind": "linear", "width": 3}, r"students\.student\.model\.width of kind linear: Extra inputs"),
        (
            {"kind": "linear", "resolutions": [[28, 1], [14, 2]]},
            r"students\.student\.model\.resolutions: the parts have 42 steps, the context has 56; make them the same",
        ),
    ],
)
def test_a_models_options_are_read_before_anything_is_trained(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(workload(model=model))


@pytest.mark.parametrize("name", ["sales", "customers"])
def test_a_teachers_options_are_read_as_well(name: str) -> None:
    section = workload(name).model_dump(mode="json")
    teacher = next(key for key, teacher in section["teachers"].items() if teacher["training"])
    section["teachers"][teacher]["model"]["hidden"] = -1
    with pytest.raises(ConfigError, match=rf"teachers\.{teacher}\.model\.hidden of kind"):
        check(Workload.model_validate(section))


def test_an_assistants_options_are_named_as_its_own() -> None:
    assistant = {
        "model": {"kind": "linear-mlp", "hidden": -5},
        "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1},
    }
    with pytest.raises(ConfigError, match=r"students\.student\.assistant\.model\.hidden of kind linear-mlp"):
        check(workload(assistant=assistant))


def test_rows_are_made_with_the_teachers_labels_alone() -> None:
    problem = get_problem(Spec(kind="tabular", target="price", task="value", numbers=["area"]))
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    fields = {"model": {"kind": "linear"}, "training": training, "alpha": 0.5, "augment": {"kind": "mixed", "rows": 9}}
    found = parts_of(problem, Student.model_validate(fields))
    assert found.synthesis == Mixed(rows=9) and found.augment is None
    assistant = {"model": {"kind": "mlp"}, "training": training}
    with pytest.raises(ConfigError, match="augment: made rows have the teachers' labels, not the assistant's"):
        parts_of(problem, Student.model_validate({**fields, "assistant": assistant}))
