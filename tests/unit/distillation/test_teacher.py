"""Teachers by folds: the soft target of a training row comes from a model that never saw its group."""

import logging
import re
from typing import Any

import numpy as np
import pytest
import torch

from tasks.core.config import Spec
from tasks.core.errors import ConfigError, DataError
from tasks.distillation import teacher as teacher_module
from tasks.distillation.options import Teacher, Training
from tasks.distillation.teacher import Taught, assign_folds, fold_rows, held_out_features, teach
from tasks.distillation.trainer import predict
from tests.unit.distillation.memory import Killed, Memory

TEACHER = Teacher(
    model=Spec(kind="linear-mlp", hidden=4, embedding=2, projection=2),
    training=Training(epochs=2, batch_size=16, learning_rate=0.01),
)
TREES = Teacher(model=Spec(kind="lightgbm", trees=8, leaves=4, min_leaf=5, learning_rate=0.3))
TEACHERS = {"network": TEACHER, "trees": TREES}


def taught_by(sales: Any, dataset: Any, teacher: Teacher = TEACHER, **options: Any) -> Taught:
    return teach(dataset, sales.problem(), teacher, folds=2, seed=5, **options)


@pytest.fixture(scope="module", params=TEACHERS)
def teacher(request: pytest.FixtureRequest) -> Teacher:
    return TEACHERS[request.param]


@pytest.fixture(scope="module")
def taught(sales: Any, teacher: Teacher) -> Taught:
    return taught_by(sales, sales.dataset, teacher)


def test_folds_are_whole_groups_in_equal_numbers() -> None:
    groups = np.array([4, 4, 9, 1, 9, 7, 2, 2, 2, 3])
    fold_of = assign_folds(groups, 3, seed=0)
    by_group = {int(group): set(fold_of[groups == group].tolist()) for group in groups}
    assert all(len(folds) == 1 for folds in by_group.values())
    assert sorted(fold for folds in by_group.values() for fold in folds) == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(fold_of, assign_folds(groups, 3, seed=0))
    assert any(not np.array_equal(fold_of, assign_folds(groups, 3, seed=seed)) for seed in (1, 2, 3))


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(DataError, match="folds: 4 folds need at least as many groups, the data has 3"):
        assign_folds(np.array([1, 2, 3, 3]), 4, seed=0)


def test_a_fold_model_learns_from_the_other_folds_and_labels_its_own() -> None:
    train, fold_of = np.array([0, 1, 2, 5]), np.array([0, 1, 0, 1, 1, 2])
    learn, label = fold_rows(train, fold_of, 0)
    assert (learn.tolist(), label.tolist()) == ([1, 5], [0, 2])


def test_one_fold_learns_from_all_training_rows_and_labels_them(sales: Any) -> None:
    train = sales.dataset.splits["train"]
    learn, label = fold_rows(train, assign_folds(sales.dataset.groups, 1, seed=5), 0)
    assert learn.tolist() == label.tolist() == train.tolist()
    taught = teach(sales.dataset, sales.problem(), TREES, folds=1, seed=5)
    assert np.array_equal(taught.soft[train], predict(taught.model.members[0], sales.dataset, train))


@pytest.mark.parametrize("fold", [0, 1])
def test_poisoned_targets_do_not_reach_the_soft_targets_of_their_own_rows(
    sales: Any, teacher: Teacher, taught: Taught, fold: int
) -> None:
    """The fold's rows are labelled by a model that did not learn from them, so they stay as they are to the bit.

    The other rows are labelled by the model that learned the poison: they must change, or nothing was poisoned.
    """
    dataset = sales.problem().features({"series": sales.table()}, sales.as_of)
    train = dataset.splits["train"]
    own = fold_rows(train, assign_folds(dataset.groups, 2, seed=5), fold)[1]
    other = np.setdiff1d(train, own)
    assert len(own) + len(other) == len(train) == 72 and min(len(own), len(other)) > 20
    truth = dataset.target

    def poisoned(rows: Any) -> Any:
        return np.where(np.isin(rows, own)[:, None], 1000, truth(rows)).astype(np.float32)

    dataset.target = poisoned
    soft = taught_by(sales, dataset, teacher).soft
    assert np.array_equal(soft[own], taught.soft[own])
    assert (soft[other] != taught.soft[other]).any(axis=(1, 2)).all()


def test_soft_targets_by_split(sales: Any, taught: Taught) -> None:
    splits = sales.dataset.splits
    assert taught.soft.shape == (84, 5, 4) and taught.soft.dtype == np.float32
    assert np.isfinite(taught.soft[splits["train"]]).all()
    assert np.isnan(taught.soft[splits["test"]]).all(), "nobody can learn from test rows"
    assert np.array_equal(taught.soft[splits["valid"]], predict(taught.model, sales.dataset, splits["valid"]))


def test_the_teacher_is_the_mean_of_its_fold_models(sales: Any, taught: Taught) -> None:
    rows = sales.dataset.splits["test"]
    members: Any = taught.model.members
    assert len(members) == len(taught.histories) == 2
    first, second = (predict(member, sales.dataset, rows) for member in members)
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(predict(taught.model, sales.dataset, rows), (first + second) / 2, rtol=1e-5)


def test_the_validation_error_is_that_of_the_mean(sales: Any, taught: Taught) -> None:
    valid = sales.dataset.splits["valid"]
    target = sales.dataset.target(valid)
    median = taught.soft[valid][:, :, 1]
    assert taught.valid_error == pytest.approx(np.abs(target - median).sum() / target.sum(), rel=1e-5)


def test_teaching_again_gives_the_same_to_the_bit_whatever_the_global_seed(
    sales: Any, teacher: Teacher, taught: Taught
) -> None:
    torch.manual_seed(99)
    again = taught_by(sales, sales.dataset, teacher)
    assert np.array_equal(again.soft, taught.soft, equal_nan=True)
    assert again.histories == taught.histories


def test_a_teacher_that_is_killed_in_its_second_fold_goes_on_there(sales: Any) -> None:
    checkpoints = [Memory(), Memory()]
    ran: list[tuple[int, int]] = []

    def progress(fold: int, killed: bool) -> Any:
        def report(epoch: int, loss: float, error: float) -> None:
            ran.append((fold, epoch))
            if killed and (fold, epoch) == (1, 1):
                raise Killed

        return report

    with pytest.raises(Killed):
        taught_by(sales, sales.dataset, checkpoint=checkpoints.__getitem__, progress=lambda fold: progress(fold, True))
    assert ran == [(0, 1), (0, 2), (1, 1)]
    ran.clear()
    again = taught_by(
        sales, sales.dataset, checkpoint=checkpoints.__getitem__, progress=lambda fold: progress(fold, False)
    )
    assert ran == [(1, 2)]
    assert np.array_equal(again.soft, taught_by(sales, sales.dataset).soft, equal_nan=True)


def test_a_network_without_training_is_refused(sales: Any) -> None:
    with pytest.raises(ConfigError, match="teachers: a linear-mlp is a network; say in `training` how it is trained"):
        taught_by(sales, sales.dataset, Teacher(model=TEACHER.model))


def test_trees_have_no_features(sales: Any) -> None:
    taught = taught_by(sales, sales.dataset, TREES)
    with pytest.raises(ConfigError, match="keep: a Boosted has no features to keep; leave it out"):
        held_out_features(taught.model, sales.dataset, seed=5)


def test_trees_and_labelling_say_how_far_they_are(
    sales: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(teacher_module, "ROWS_A_LINE", 1)
    with caplog.at_level(logging.INFO, "tasks"):
        taught_by(sales, sales.dataset, TREES)
    said = [record.getMessage() for record in caplog.records]
    learns = [re.fullmatch(r"fold (\d)/2: a lightgbm learns from (\d+) rows", line) for line in said]
    labels = [re.fullmatch(r"fold (\d)/2: (\d+) of \2 rows labelled, \d+ s", line) for line in said]
    (first, second), (third, fourth) = ([match.groups() for match in found if match] for found in (learns, labels))
    assert (first[0], second[0], third[0], fourth[0]) == ("1", "2", "1", "2")
    assert first[1] == fourth[1] and second[1] == third[1], "each fold labels what the other one learns from"
