"""The loss of one batch, worked out by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.core.errors import DataError
from tasks.distillation.adaptive import Balance
from tasks.distillation.alignment import Alignment
from tasks.distillation.objective import Aligned, Made, Objective, Teaching
from tasks.problems.base import Augment, Dataset, FeatureContract, Floats, Inputs, Labelled, Rows

CPU = torch.device("cpu")
ROWS = np.array([0, 2])


class Four(Dataset):
    """Inputs 1, 2, 3, 4; target ten times that."""

    def __init__(self) -> None:
        self.contract = FeatureContract("four", {"x": ("float32", (1,))}, (1,))
        self.groups = np.arange(4)

    def inputs(self, rows: Rows, names: Any = ()) -> Inputs:
        return {"x": (rows[:, None] + 1).astype(np.float32)}

    def target(self, rows: Rows) -> Floats:
        return (10.0 * (rows + 1)).astype(np.float32)

    def save(self, folder: Path) -> None:
        raise NotImplementedError


class Double(nn.Module):
    """Output 2x, features (x, x)."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return self.factor * x, x.repeat(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_features(x)[0]


class Gap(Alignment):
    def forward(self, student: Tensor, teacher: Tensor, fold: Tensor) -> Tensor:
        return (student - teacher).sum(dim=1) + 100 * fold


class Tenfold(Augment):
    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        soft = None if batch.soft is None else batch.soft * 10
        return Labelled({name: values * 10 for name, values in batch.inputs.items()}, batch.target * 10, soft)


def gap(output: Tensor, target: Tensor) -> Tensor:
    return (output[:, 0] - target).abs()


def soft_gap(output: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    return (output - teacher).abs()[:, 0]


def loss(done: float = 0.0, augment: Augment | None = None, model: nn.Module | None = None, **teaching: Any) -> float:
    """Rows 0 and 2: outputs 2 and 6, targets 10 and 30, soft targets 1 and 3."""
    parts: dict[str, Any] = {"soft": SOFT, "alpha": lambda done: 0.25, "losses": [(1.0, soft_gap)], **teaching}
    objective = Objective(Four(), gap, Teaching(**parts) if teaching is not None else None, augment=augment)
    return float(objective.loss(model or Double(), ROWS, done, np.random.default_rng(0), CPU).detach())


SOFT = np.array([[1.0], [2.0], [3.0], [4.0]], dtype=np.float32)


def test_without_teaching_it_is_the_mean_hard_loss() -> None:
    objective = Objective(Four(), gap)
    assert objective.loss(Double(), ROWS, 0.0, np.random.default_rng(0), CPU).item() == 16  # 8 and 24


def test_alpha_weighs_hard_and_soft() -> None:
    # Soft losses 1 and 3, mean 2.
    assert loss() == pytest.approx(0.25 * 16 + 0.75 * 2)


def test_alpha_may_depend_on_how_much_is_done() -> None:
    assert loss(done=0.5, alpha=lambda done: done) == pytest.approx(0.5 * 16 + 0.5 * 2)
    assert loss(done=1.0, alpha=lambda done: done) == pytest.approx(16)


def test_several_soft_losses_are_added_with_their_weights() -> None:
    assert loss(losses=[(1.0, soft_gap), (0.5, soft_gap)]) == pytest.approx(0.25 * 16 + 0.75 * 1.5 * 2)


def test_what_a_row_does_not_trust_the_teacher_with_goes_to_the_truth() -> None:
    trust = np.array([1.0, 0.0, 0.5, 0.0], dtype=np.float32)
    # First row: 0.75 soft. Third row: 0.375 soft, the rest hard.
    expected = (0.25 * 8 + 0.75 * 1 + 0.625 * 24 + 0.375 * 3) / 2
    assert loss(trust=trust) == pytest.approx(expected)


def test_features_come_from_the_same_pass_as_the_output() -> None:
    features = np.array([[1, 0], [9, 9], [1, 1], [9, 9]], dtype=np.float16)
    model = Double()
    aligned = [Aligned(0.5, Gap(), features, np.array([0, 9, 1, 9]))]
    # Features (1, 1) and (3, 3) less the teacher's: 1 and 4; the second row's fold adds 100.
    assert loss(model=model, aligned=aligned) == pytest.approx(0.25 * 16 + 0.75 * (2 + 0.5 * (1 + 104) / 2))
    assert model.calls == 1


def test_inputs_and_labels_are_augmented_together() -> None:
    assert loss(augment=Tenfold()) == pytest.approx(10 * (0.25 * 16 + 0.75 * 2))


def missing_soft(values: Floats) -> dict[str, Any]:
    return {"soft": values}


def missing_features(values: Floats) -> dict[str, Any]:
    return {"aligned": [Aligned(1.0, Gap(), values, np.zeros(4, np.int64))]}


@pytest.mark.parametrize("missing", [missing_soft, missing_features])
def test_a_training_row_without_a_label_is_refused(missing: Callable[[Floats], dict[str, Any]]) -> None:
    values = SOFT.copy()
    values[2] = np.nan
    parts: dict[str, Any] = {"soft": SOFT, "alpha": lambda done: 0.5, "losses": [], **missing(values)}
    objective = Objective(Four(), gap, Teaching(**parts))
    objective.check(np.array([0, 1, 3]))
    with pytest.raises(DataError, match="soft targets: missing for some training rows"):
        objective.check(ROWS)


@pytest.mark.parametrize(
    "change",
    [
        {"soft": SOFT + 1},
        {"alpha": lambda done: 0.5},
        {"trust": np.ones(4, np.float32)},
        {"by_gap": True},
        {"balance": Balance(0.25)},
        {"aligned": [Aligned(1.0, Gap(), SOFT, np.zeros(4, np.int64))]},
    ],
)
def test_another_objective_has_another_digest(change: dict[str, Any]) -> None:
    parts: dict[str, Any] = {"soft": SOFT, "alpha": lambda done: 0.25, "losses": [(1.0, soft_gap)]}
    one, same, other = (Objective(Four(), gap, Teaching(**{**parts, **new})).digest(ROWS) for new in ({}, {}, change))
    assert one == same != other
    assert Objective(Four(), gap, Teaching(**parts), settings="other").digest(ROWS) != one


def test_made_rows_add_the_soft_loss_that_the_teachers_label_gives() -> None:
    """Both have the input 5, so the output 10; the teachers say 7: a gap of 3, with a weight of 0.75."""
    made = Made({"x": np.full((2, 1), 5, np.float32)}, np.full((2, 1), 7, np.float32), np.array([1, 3]), share=2.0)
    plain = loss()
    assert loss(made=made) == pytest.approx(plain + 2.0 * 0.75 * 3)
    trusted = np.array([1, 0.5, 1, 0.5], np.float32)
    assert loss(made=made, trust=trusted) == pytest.approx(loss(trust=trusted) + 2.0 * 0.75 * 0.5 * 3)
    assert loss(made=made, alpha=lambda done: 1.0) == pytest.approx(loss(alpha=lambda done: 1.0)), "not for the twin"


def test_the_gap_to_the_teacher_weighs_it_row_by_row() -> None:
    """Student's hard losses 8 and 24, the teacher's 9 and 27, against targets 10 and 30."""
    weight = 0.75 * (1 - np.exp(-8 / 9))
    assert loss(by_gap=True) == pytest.approx((1 - weight) * 16 + weight * 2)
    made = Made({"x": np.full((2, 1), 5, np.float32)}, np.full((2, 1), 7, np.float32), np.array([1, 3]), share=2.0)
    assert loss(by_gap=True, made=made) == pytest.approx(loss(by_gap=True) + 2.0 * 0.75 * 3), "no truth of made rows"


def test_a_balance_weighs_the_means_of_both_losses() -> None:
    logs = -np.log(0.25) - np.log(0.75)
    assert loss(balance=Balance(0.25)) == pytest.approx(0.25 * 16 + 0.75 * 2 + logs)
    made = Made({"x": np.full((2, 1), 5, np.float32)}, np.full((2, 1), 7, np.float32), np.array([1, 3]), share=2.0)
    assert loss(balance=Balance(0.25), made=made) == pytest.approx(0.25 * 16 + 0.75 * (2 + 2.0 * 3) + logs)
