"""Losses between features, worked out by hand; rows of different folds are never compared."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tasks.distillation.alignment import ALIGNMENTS, ANGLE_ROWS, Alignment
from tasks.problems.blocks.features import MAP_PLACES

ONE_FOLD = torch.zeros(3, dtype=torch.int64)
TRIANGLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def built(kind: str, student: int = 2, teacher: int = 2, folds: int = 1, **options: Any) -> Alignment:
    return ALIGNMENTS[kind](**options).build(student, teacher, folds)


def set_projector(hint: Any, weight: list[list[float]], bias: list[float]) -> None:
    with torch.no_grad():
        hint.project.weight.copy_(torch.tensor(weight))
        hint.project.bias.copy_(torch.tensor(bias))


def test_the_hint_is_the_projected_students_gap_to_the_teacher() -> None:
    hint = built("hint", student=2, teacher=1)
    set_projector(hint, [[1.0, 2.0]], [1.0])
    student, teacher = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[2.0], [4.0]])
    # Projections 4 and 1; squared gaps 4 and 9; the batch's mean square is (4 + 16) / 2.
    assert hint(student, teacher, torch.zeros(2, dtype=torch.int64)).tolist() == pytest.approx([0.4, 0.9])


def test_each_fold_has_its_own_projector() -> None:
    hint = built("hint", student=1, teacher=2, folds=2)
    set_projector(hint, [[1.0], [2.0], [-1.0], [0.0]], [0.0, 0.0, 0.0, 5.0])
    # The first fold's teacher says (x, 2x), the second's (-x, 5).
    teacher = torch.tensor([[3.0, 6.0], [-3.0, 5.0]])
    assert hint(torch.full((2, 1), 3.0), teacher, torch.tensor([0, 1])).tolist() == [0, 0]
    assert (hint(torch.full((2, 1), 3.0), teacher, torch.tensor([1, 0])) > 0).all()


def test_a_hint_is_learned_by_projector_and_student() -> None:
    torch.manual_seed(0)
    hint, student = built("hint", student=4, teacher=3), nn.Linear(3, 4)
    teacher = torch.randn(64, 3)
    weights = [*hint.parameters(), *student.parameters()]
    losses = []
    for _ in range(300):
        loss = hint(student(teacher), teacher, torch.zeros(64, dtype=torch.int64)).mean()
        with torch.no_grad():
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(0.3 * slope)
        losses.append(float(loss.detach()))
    assert losses[0] > 0.3 and losses[-1] < 0.01


def test_similarity_compares_whom_a_row_is_like() -> None:
    student = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # The student's rows are alike, (1, 1) / sqrt 2; the teacher's are like themselves alone: (1, 0) and (0, 1).
    expected = (1 - 1 / math.sqrt(2)) ** 2 + 0.5
    assert built("similarity")(student, teacher, ONE_FOLD[:2]).tolist() == pytest.approx([expected] * 2)
    assert built("similarity")(student, teacher, torch.tensor([0, 1])).tolist() == [0, 0], "nobody of the same fold"


@pytest.mark.parametrize("kind", ["similarity", "relation"])
def test_turned_and_scaled_features_are_alike(kind: str) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(40, 3)
    turned = torch.linalg.qr(torch.randn(3, 3))[0]
    fold = torch.arange(40) % 2
    assert built(kind, 3, 3)(5 * teacher @ turned, teacher, fold).tolist() == pytest.approx([0.0] * 40, abs=1e-5)
    assert (built(kind, 3, 3)(torch.randn(40, 3), teacher, fold) > 0.01).all()


def test_relation_of_distances_is_over_their_mean() -> None:
    # Teacher: sides 3, 4, 5, mean 4. Student: an equal-sided triangle, each side its mean.
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    rows = built("relation", distance=1.0, angle=0.0)(student, TRIANGLE, ONE_FOLD)
    # Huber: half the squared gaps 1 - 3/4, 1 - 1 and 1 - 5/4 of the two sides at each corner.
    assert rows.tolist() == pytest.approx([0.5 * 0.0625 / 2, 0.5 * 0.125 / 2, 0.5 * 0.0625 / 2], abs=1e-6)


def test_relation_of_angles_compares_cosines_at_each_corner() -> None:
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    rows = built("relation", distance=0.0, angle=1.0)(student, TRIANGLE, ONE_FOLD)
    # Cosines of the teacher's corners 0, 3/5, 4/5, of the student's 1/2.
    expected = [0.5 * 0.25, 0.5 * 0.01, 0.5 * 0.09]
    assert rows.tolist() == pytest.approx(expected, abs=1e-6)


def test_angles_of_more_rows_than_a_run_are_those_of_each_run() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, ANGLE_ROWS + 5, 3).unbind()
    fold = torch.zeros(ANGLE_ROWS + 5, dtype=torch.int64)
    term = built("relation", 3, 3, distance=0.0)
    parts = [term(student[rows], teacher[rows], fold[rows]) for rows in (slice(ANGLE_ROWS), slice(ANGLE_ROWS, None))]
    torch.testing.assert_close(term(student, teacher, fold), torch.cat(parts))


def test_maps_have_one_projector_of_channels_for_all_places_and_rows_of_a_fold() -> None:
    hint = built("hint-maps", student=2, teacher=MAP_PLACES, folds=2)
    set_projector(hint.of_place, [[1.0, 2.0], [-1.0, 0.0]], [0.0, 0.5])
    assert sum(weights.numel() for weights in hint.parameters()) == 6
    places = torch.arange(float(MAP_PLACES))
    student = torch.cat([places, 10 * places]).repeat(2, 1)
    teacher = torch.stack([21 * places, 0.5 - places])
    assert hint(student, teacher, torch.tensor([0, 1])).tolist() == pytest.approx([0, 0])
    teacher[0, 3] += 4
    found = hint(student, teacher, torch.tensor([0, 1])).tolist()
    assert found == pytest.approx([16 / MAP_PLACES / float(teacher.square().mean()), 0])


@pytest.mark.parametrize("kind", ["similarity", "relation"])
def test_folds_do_not_touch_each_other(kind: str) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 20, 3).unbind()
    fold = (torch.arange(20) >= 12).long()
    term = built(kind, 3, 3)
    together = term(student, teacher, fold)
    alone = [term(student[rows], teacher[rows], fold[rows] * 0) for rows in (slice(12), slice(12, None))]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_gradients_are_finite_where_rows_are_equal(kind: str) -> None:
    width = 3 * (MAP_PLACES if kind == "hint-maps" else 1)
    student: Tensor = torch.zeros(5, width, requires_grad=True)
    rows = built(kind, 3, width, 2)(student, torch.ones(5, width), torch.tensor([0, 0, 1, 1, 0]))
    assert torch.isfinite(torch.autograd.grad(rows.sum(), student)[0]).all()
