"""Muon: orthogonal steps, filters alone, killed and resumed to the bit, and refused where there are no filters."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tasks.core.errors import ConfigError
from tasks.distillation.muon import Muon, orthogonal
from tasks.distillation.objective import Objective
from tasks.distillation.options import Student, Teacher, Training
from tasks.distillation.parts import check_students
from tasks.distillation.trainer import TrainingData, train
from tasks.problems.base import Dataset, FeatureContract, Floats, Inputs, Rows
from tests.unit.distillation.memory import Killed, Memory

TRAINING = Training(epochs=4, batch_size=8, learning_rate=0.01, muon=0.1)


class Maps(Dataset):
    """x (50, 2, 4, 4) normal; the target is the mean of the first map."""

    def __init__(self) -> None:
        self.x = np.random.default_rng(0).normal(size=(50, 2, 4, 4)).astype(np.float32)
        self.contract = FeatureContract("maps", {"x": ("float32", (2, 4, 4))}, (1,))
        self.splits = {"train": np.arange(40), "valid": np.arange(40, 50), "test": np.arange(40, 50)}
        self.groups = np.arange(50)
        self.segments = {}

    def inputs(self, rows: Rows, names: Any = ()) -> Inputs:
        return {"x": self.x[rows]}

    def target(self, rows: Rows) -> Floats:
        found: Floats = self.x[rows, 0].mean(axis=(1, 2))
        return found

    def save(self, folder: Any) -> None:
        raise NotImplementedError


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 1))


def squares(output: Tensor, target: Tensor) -> Tensor:
    return (output[:, 0] - target) ** 2


def trained(
    model: nn.Module, training: Training = TRAINING, memory: Memory | None = None, kill: int = 0
) -> dict[str, Tensor]:
    data, rows = Maps(), np.arange(40)

    def progress(epoch: int, _loss: float, _error: float) -> None:
        if epoch == kill:
            raise Killed

    def error(output: Floats, target: Floats) -> float:
        return float(np.abs(output[:, 0] - target).mean())

    split = TrainingData(data, rows, np.arange(40, 50), error)
    train(model, split, Objective(data, squares), training, seed=3, checkpoint=memory, progress=progress)
    return model.state_dict()


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (16, 144)])
def test_a_step_has_the_directions_of_the_gradient_and_nearly_equal_sizes(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonal(matrix)
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ found @ right.T
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-4)
    assert sizes.max() / sizes.min() > 1.3 and 0.3 < inner.diagonal().min() <= inner.diagonal().max() < 1.4
    assert not orthogonal(torch.zeros(shape)).any()


def test_a_filters_norm_stays_and_its_step_is_as_long_whatever_the_gradients_size() -> None:
    moved = []
    for size in (1.0, 1e-3):
        torch.manual_seed(0)
        weights = nn.Parameter(torch.randn(4, 2, 3, 3))
        before = weights.detach() * 2 / weights.detach().norm()
        weights.grad = size * torch.randn(4, 2, 3, 3)
        Muon([weights], lr=0.1).step()
        moved.append((weights.detach() - before).norm())
    assert float(moved[0]) == pytest.approx(float(moved[1]), rel=1e-3) and 0.1 < float(moved[0]) < 0.25


def test_filters_alone_are_trained_by_muon() -> None:
    plain, both = (trained(network(), TRAINING.model_copy(update={"muon": rate})) for rate in (None, 0.1))
    assert float(both["0.weight"].norm()) == pytest.approx(2, abs=0.3), "the root of four outputs, and one step"
    assert float(plain["0.weight"].norm()) != pytest.approx(2, abs=0.3)
    slow = trained(network(), TRAINING.model_copy(update={"learning_rate": 1e-12}))
    assert torch.allclose(slow["4.weight"], network().state_dict()["4.weight"], atol=1e-6)


def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one() -> None:
    whole, memory = trained(network()), Memory()
    with pytest.raises(Killed):
        trained(network(), memory=memory, kill=2)
    resumed = trained(network(), memory=memory)
    # The kill comes after the checkpoint of its epoch.
    assert all(torch.equal(values, resumed[name]) for name, values in whole.items())


def test_a_network_without_filters_is_refused() -> None:
    with pytest.raises(ConfigError, match="muon: a Sequential has no filters; leave it out"):
        trained(nn.Sequential(nn.Flatten(), nn.Linear(32, 1)))


@pytest.mark.parametrize("field", ["teachers.t", "students.s"])
def test_muon_for_a_network_without_filters_is_refused_before_anything_is_trained(sales: Any, field: str) -> None:
    section: dict[str, Any] = {"model": {"kind": "linear"}, "training": TRAINING.model_dump()}
    plain = {**section, "training": {**section["training"], "muon": None}}
    teacher = Teacher.model_validate(section if field == "teachers.t" else plain)
    student = Student.model_validate({**(section if field == "students.s" else plain), "alpha": 1.0})
    with pytest.raises(ConfigError, match=rf"{field}\.training\.muon: a linear has no filters"):
        check_students(sales.problem(), {"t": teacher}, {"s": student})


def test_a_further_training_slows_both_rates_and_files_of_before_say_the_same() -> None:
    slower = TRAINING.slower(0.1)
    assert (slower.learning_rate, slower.muon) == pytest.approx((0.001, 0.01))
    assert "muon" not in Training(epochs=1, batch_size=1, learning_rate=1).model_dump(mode="json")
