"""Several processes train one network: the parts of a batch add up to it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.errors import ConfigError, IntegrityError
from tasks.distillation.adaptive import Balance
from tasks.distillation.objective import Made, Objective, Teaching
from tasks.distillation.processes import Part, require_divisible, require_gpus
from tests.unit.distillation.test_trainer import Slope, absolute, goal, squares


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))


SOFT = np.random.default_rng(5).random((50, 1), dtype=np.float32)


@pytest.mark.parametrize(("rows", "count"), [(8, 2), (7, 3), (3, 3), (2, 3), (1, 4)])
def test_every_row_of_a_batch_is_in_one_part(rows: int, count: int) -> None:
    found = [Part(rank, count).of(rows) for rank in range(count)]
    counted = [place for part, share in found if share for place in range(rows)[part]]
    assert counted == list(range(rows)) and sum(share for _, share in found) == pytest.approx(1)
    assert all(len(range(rows)[part]) > 0 for part, _ in found), "a process without a row has no gradients to add up"


def taught(**options: Any) -> Objective:
    """Truth and teacher, with rows that the teacher alone has labelled."""
    rng = np.random.default_rng(6)
    made = Made({"x": rng.random((20, 3), dtype=np.float32)}, rng.random((20, 1), dtype=np.float32), np.arange(20), 0.7)
    return Objective(Slope(), squares, Teaching(SOFT, lambda done: 0.3, [(1.0, absolute)], made=made, **options))


OBJECTIVES: list[Callable[[], Objective]] = [
    goal,
    taught,
    lambda: taught(trust=np.linspace(0, 1, 50, dtype=np.float32)),
    lambda: taught(by_gap=True),
    lambda: taught(balance=Balance(0.4)),
]


@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize("rows", [7, 1])
def test_losses_and_gradients_of_the_parts_add_up_to_those_of_the_batch(
    make: Callable[[], Objective], rows: int
) -> None:
    model, objective = network(), make()

    def gradients(part: Part) -> tuple[float, list[torch.Tensor]]:
        both = [*model.parameters(), *objective.parameters()]
        for each in both:
            each.grad = None
        loss = objective.loss(model, np.arange(rows), 0.5, np.random.default_rng(9), torch.device("cpu"), mine=part)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()), [each.grad for each in both if each.grad is not None]

    loss, whole = gradients(Part())
    parts = [gradients(Part(rank, 3)) for rank in range(3)]
    assert sum(part for part, _ in parts) == pytest.approx(loss, abs=1e-6)
    for place, expected in enumerate(whole):
        torch.testing.assert_close(sum(found[place] for _, found in parts), expected, atol=1e-6, rtol=1e-5)


class Second(Part):
    """A process whose first one has begun another training."""

    def data_of_first(self, data: bytes | None) -> bytes | None:
        return b"another"


def test_a_process_with_other_data_than_the_first_is_refused() -> None:
    with pytest.raises(IntegrityError, match="process 1 of 2: it has another training than the first one"):
        Second(1, 2).require_same("training", "this one")


def test_what_needs_a_whole_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"resources\.teach@x: batch normalisation .* set processes"):
        require_divisible("resources.teach@x", nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    with pytest.raises(ConfigError, match=r"resources\.distil@x: terms on features"):
        require_divisible("resources.distil@x", nn.Linear(3, 3), features=True)


def test_each_process_needs_a_gpu_where_there_are_some() -> None:
    require_gpus(2, 2)
    with pytest.raises(ConfigError, match="3 processes need a GPU each, there are 2 here; set processes: 2"):
        require_gpus(3, 2)
