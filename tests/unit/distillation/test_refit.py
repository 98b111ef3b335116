"""What was chosen is trained again, on newer rows and as far as before; never on rows of the test."""

from typing import Any

import numpy as np
import pytest
import torch

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, IntegrityError
from tasks.distillation.objective import Objective
from tasks.distillation.options import Student, Teacher, Training
from tasks.distillation.refit import check_refit
from tasks.distillation.teacher import teach
from tasks.distillation.trainer import TrainingData, set_up, train
from tasks.problems import get_problem
from tasks.problems.forecasting.dataset import Windows, require_earlier
from tasks.problems.models import build_model
from tests.unit.problems.text import letters

NOBODY = np.empty(0, np.int64)
TRAINING = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05}
MODEL = {"kind": "linear-mlp", "hidden": 6, "embedding": 2, "projection": 2}
TREES: dict[str, Any] = {
    "kind": "lightgbm",
    "trees": 12,
    "leaves": 4,
    "min_leaf": 5,
    "stopping": 2,
    "learning_rate": 0.3,
}
MLP = {"kind": "mlp", "hidden": 4, "blocks": 1, "projection": 2}


def rows_as_before(dataset: Any) -> Any:
    """The data with the rows that were trained on before, and none to choose by."""
    splits = {**dataset.splits, "valid": NOBODY}
    return Windows(dataset.panel, dataset.contract, dataset.lines, dataset.origins, splits)


def student(**fields: Any) -> Student:
    return Student.model_validate({"model": MODEL, "training": TRAINING, "alpha": 0.5, **fields})


def test_newest_windows_go_on_to_the_test_and_end_before_it(sales: Any) -> None:
    dataset = sales.dataset
    newest = dataset.newest()
    before, now, test = (
        origins[rows]
        for origins, rows in (
            (dataset.origins, dataset.splits["train"]),
            (newest.origins, newest.splits["train"]),
            (newest.origins, newest.splits["test"]),
        )
    )
    assert set(before) < set(now)
    # The last origin of before was 29 June, and the first target of the test is 10 July.
    assert sorted(set(now) - set(before)) == [before.max() + 4]
    assert now.max() + sales.options["horizon"] < test.min() + 1
    assert len(newest.splits["valid"]) == 0
    assert newest.contract == dataset.contract


def test_nothing_of_the_test_windows_changes_what_is_trained_on_again(sales: Any) -> None:
    newest = sales.dataset.newest()
    first = newest.origins[newest.splits["test"]].min() + 1
    before = newest.target(newest.splits["train"]), newest.inputs(newest.splits["train"], ["units", "observed"])
    panel = newest.panel
    units = panel.units.copy()
    units[:, first:] = 1e9
    changed = panel.__class__(**{**vars(panel), "units": units})
    planted = Windows(changed, newest.contract, newest.lines, newest.origins, dict(newest.splits)).newest()
    assert (planted.target(planted.splits["test"]) == 1e9).any(), "what was planted is there"
    after = planted.target(planted.splits["train"]), planted.inputs(planted.splits["train"], ["units", "observed"])
    np.testing.assert_array_equal(before[0], after[0])
    for name, values in before[1].items():
        np.testing.assert_array_equal(values, after[1][name])


def test_windows_that_reach_into_the_test_are_refused(sales: Any) -> None:
    newest = sales.dataset.newest()
    late = newest.origins.copy()
    late[newest.splits["train"][-1]] = newest.origins[newest.splits["test"]].min() - sales.options["horizon"] + 2
    leaking = Windows(newest.panel, newest.contract, newest.lines, late, dict(newest.splits))
    with pytest.raises(IntegrityError, match="refit: targets to train on reach 2 steps into those of the test"):
        require_earlier(leaking)


def test_a_network_trained_again_on_equal_rows_ends_where_it_was_best(sales: Any) -> None:
    dataset, problem = sales.dataset, sales.problem()
    training = Training.model_validate(TRAINING)

    def trained(valid: Any, ends: int | None) -> Any:
        set_up(3, 1)
        model = build_model(Spec(**MODEL), dataset.contract)
        errors = iter([3.0, 1.0, 2.0, 2.0])
        data = TrainingData(dataset, dataset.splits["train"], valid, lambda *_: next(errors))
        history = train(
            model, data, Objective(dataset, problem.hard_loss(dataset.contract)), training, seed=3, ends=ends
        )
        return history, model.state_dict()

    first, weights = trained(dataset.splits["valid"], None)
    assert first.best + 1 == 2, "the best epoch must not be the last one"
    again, found = trained(NOBODY, first.best + 1)
    assert len(again.train) == first.best + 1
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    _, further = trained(NOBODY, None)
    assert not all(torch.equal(further[name], value) for name, value in weights.items())


def test_trees_taught_again_on_equal_rows_are_the_same(sales: Any) -> None:
    problem, teacher = sales.problem(), Teacher(model=Spec(**TREES))
    set_up(3, 1)
    first = teach(sales.dataset, problem, teacher, folds=2, seed=3)
    rounds = [history.settled for history in first.histories]
    assert any(count < TREES["trees"] for _, *fold in rounds for count in fold)
    assert first.histories[0].to_json()["settled"] == rounds[0]
    again = teach(rows_as_before(sales.dataset), problem, teacher, folds=2, seed=3, again=first.histories)
    rows = sales.dataset.splits["train"]
    np.testing.assert_array_equal(again.soft[rows], first.soft[rows])
    assert np.isnan(again.soft[sales.dataset.splits["valid"]]).all(), "nobody learned from them, nobody labels them"


def test_a_network_learns_again_from_the_newest_rows(sales: Any) -> None:
    problem, teacher = sales.problem(), Teacher(model=Spec(**MLP), training=Training.model_validate(TRAINING))
    set_up(3, 1)
    first = teach(sales.dataset, problem, teacher, folds=2, seed=3)
    newest = sales.dataset.newest()
    again = teach(newest, problem, teacher, folds=2, seed=3, again=first.histories)
    assert np.isfinite(again.soft[newest.splits["train"]]).all()
    assert np.isnan(again.soft[newest.splits["test"]]).all()
    assert [len(history.train) for history in again.histories] == [history.best + 1 for history in first.histories]


@pytest.mark.parametrize(
    ("teachers", "students", "message"),
    [
        ({}, {"student": student(assistant={"model": MODEL, "training": TRAINING})}, "students.student.assistant"),
        (
            {"mlp": Teacher(model=Spec(**MLP), training=Training.model_validate(TRAINING), keep=("features",))},
            {"student": student(terms=[{"kind": "hint"}])},
            "students.student.terms",
        ),
    ],
)
def test_what_is_not_trained_again_is_refused(sales: Any, teachers: Any, students: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"refit: {message}"):
        check_refit(sales.problem(), teachers, students)
    check_refit(sales.problem(), {"trees": Teacher(model=Spec(**TREES))}, {"twin": student(alpha=1.0)})


def test_a_kind_of_learning_without_newest_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ranking = get_problem(Spec(kind="ranking"))
    check_refit(ranking, {}, {})
    monkeypatch.setattr(type(ranking), "refits", False)  # as of another package's kind that does not say so
    with pytest.raises(ConfigError, match="refit: rows of ranking are not trained on again; leave it out"):
        check_refit(ranking, {}, {})


def test_a_linear_teacher_of_texts_learns_again_with_the_factor_of_before() -> None:
    rows, teacher = letters.dataset(), Teacher(model=Spec(kind="linear"))
    first = teach(rows, letters.problem(), teacher, folds=2, seed=3)
    factors = [history.settled for history in first.histories]
    assert all(len(fold) == 1 and fold[0] != 1 for fold in factors)
    again = teach(rows, letters.problem(), teacher, folds=2, seed=3, again=first.histories)
    learned = rows.splits["train"]
    np.testing.assert_array_equal(again.soft[learned], first.soft[learned])
    newest = rows.newest()
    now = teach(newest, letters.problem(), teacher, folds=2, seed=3, again=first.histories)
    assert [history.settled for history in now.histories] == factors
    assert np.isfinite(now.soft[rows.splits["valid"]]).all()
    assert np.isnan(now.soft[rows.splits["test"]]).all()
    assert (now.soft[learned] != again.soft[learned]).any()


def test_rows_that_teachers_label_are_not_made_again() -> None:
    made = {"kind": "unlabelled", "rows": 9}
    bag = {"model": {"kind": "bag"}, "training": TRAINING, "augment": made}
    with pytest.raises(ConfigError, match=r"refit: students\.student\.augment: made rows are not labelled again"):
        check_refit(letters.problem(), {}, {"student": Student.model_validate({**bag, "alpha": 0.5})})
    check_refit(letters.problem(), {"linear": Teacher(model=Spec(kind="linear"))}, {})
