"""A student of two tables starts as the closest product to its teacher's product of items by items."""

from typing import Any

import numpy as np
import pytest
import torch

from tasks.core.config import Spec
from tasks.core.errors import ConfigError
from tasks.distillation.options import Student, Teacher
from tasks.distillation.parts import check_students
from tasks.distillation.start import start_from
from tasks.problems import get_problem
from tasks.problems.blocks.weights import save_weights
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, Histories, make_contract
from tasks.problems.ranking.models.product import Ease
from tasks.problems.ranking.models.students import DecayedSum
from tests.unit.problems.ranking.films import dataset, problem
from tests.unit.problems.tabular.labelled.homes import VALUE


def teacher(made: Histories) -> Ease:
    model = build_model(Spec(kind="ease", regularisation=5.0), made.contract)
    assert isinstance(model, Ease)
    model.fit(made, made.splits["train"], made.splits["valid"], seed=0)
    return model.eval()


@pytest.mark.parametrize("half_lives", [[4.0], [2.0, 9.0]])
def test_a_student_as_wide_as_the_catalogue_says_what_its_teacher_says(half_lives: list[float]) -> None:
    made = dataset(split="leave-one-out")
    taught = teacher(made)
    student = build_model(Spec(kind="decayed-sum", width=made.size, half_lives=half_lives), made.contract).eval()
    assert "answers" in start_from(student, save_weights(taught), {})
    history = torch.from_numpy(made.inputs(made.splits["test"])[HISTORY])
    with torch.no_grad():
        np.testing.assert_allclose(student(history), taught(history), rtol=1e-3, atol=1e-4)
    assert not student.get_parameter("items.weight")[0].any(), "nothing stays nothing"


def test_a_narrow_one_is_the_closest_of_its_width() -> None:
    made = dataset(split="leave-one-out")
    taught = teacher(made)
    student = build_model(Spec(kind="decayed-sum", width=8), made.contract)
    start_from(student, save_weights(taught), {})
    assert isinstance(student, DecayedSum) and student.answers is not None
    found = (student.items.weight[1:] @ student.answers.T).detach().numpy()
    left, strengths, right = np.linalg.svd(taught.product.numpy())
    np.testing.assert_allclose(found, (left[:, :8] * strengths[:8]) @ right[:8], atol=1e-3)


def test_a_student_that_knows_no_way_from_this_teacher_is_refused() -> None:
    made = dataset(split="leave-one-out")
    taught = save_weights(teacher(made))
    for model in (
        build_model(Spec(kind="decayed-sum", width=8, two_tables=False), made.contract),
        build_model(Spec(kind="decayed-sum", width=8), make_contract(problem().options, ["a", "b", "c"])),
    ):
        with pytest.raises(ConfigError, match="start_from: no parameter of the student fits one of the teacher's"):
            start_from(model, taught, {})


@pytest.mark.parametrize(
    ("model", "fits"),
    [
        ({"kind": "decayed-sum", "width": 8}, True),
        ({"kind": "decayed-sum", "width": 8, "two_tables": False}, False),
        ({"kind": "gru"}, False),
        ({"kind": "transformer"}, False),
    ],
)
def test_a_start_that_fits_nothing_is_refused_before_anything_runs(model: dict[str, Any], fits: bool) -> None:
    teachers = {"one": Teacher.model_validate({"model": {"kind": "ease"}, "keep": ["weights"]})}
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    given = Student.model_validate({"model": model, "training": training, "alpha": 0.5, "start_from": "one"})
    if fits:
        check_students(problem(), teachers, {"net": given})
        return
    with pytest.raises(ConfigError, match=r"^students\.net\.start_from: no parameter of the student fits"):
        check_students(problem(), teachers, {"net": given})
    check_students(problem(), teachers, {"twin": given.model_copy(update={"alpha": 1.0})})


@pytest.mark.parametrize("kind", ["lightgbm", "catboost"])
def test_trees_that_have_means_keep_no_weights(kind: str) -> None:
    given = Teacher.model_validate({"model": {"kind": kind}, "keep": ["weights"]})
    with pytest.raises(ConfigError, match=rf"^teachers\.one\.keep: a {kind} has neither features nor weights"):
        check_students(get_problem(Spec.model_validate(VALUE)), {"one": given}, {})


@pytest.mark.parametrize(("kept", "refused"), [("weights", False), ("features", True)])
def test_a_teacher_that_fits_itself_keeps_the_weights_that_it_has(kept: str, refused: bool) -> None:
    given = Teacher.model_validate({"model": {"kind": "ease"}, "keep": [kept]})
    if refused:
        with pytest.raises(ConfigError, match=r"^teachers\.one\.keep: a ease has neither features nor weights"):
            check_students(problem(), {"one": given}, {})
    else:
        check_students(problem(), {"one": given}, {})
