"""Several processes train one network: parts of a batch add up to it, and a killed process costs an epoch at most."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from tasks.core.errors import ConfigError, IntegrityError
from tasks.distillation.adaptive import Balance
from tasks.distillation.objective import Made, Objective, Teaching
from tasks.distillation.processes import Part, require_divisible
from tasks.distillation.trainer import train
from tests.conftest import PROJECT
from tests.unit.distillation.in_two_processes import network
from tests.unit.distillation.test_trainer import TRAINING, Slope, absolute, goal, rows_of, squares

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


def start(folder: Path, dies_in: int = 0) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"),
        *(
            "--nproc-per-node=2",
            str(PROJECT / "tests/unit/distillation/in_two_processes.py"),
            str(folder),
            str(dies_in),
        ),
    ]
    surroundings = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)


def test_two_processes_find_the_weights_of_one_even_when_one_of_them_is_killed(tmp_path: Path) -> None:
    killed = start(tmp_path, dies_in=3)
    assert killed.returncode != 0 and "SIGKILL" in killed.stderr
    assert not (tmp_path / "weights").exists()
    again = start(tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "ran").read_text() == "2 of 4", "it did not go on from its checkpoint"
    model = network()
    train(model, rows_of(), goal(), TRAINING, seed=3)
    found = load_file(tmp_path / "weights")
    for name, expected in model.state_dict().items():
        np.testing.assert_allclose(found[name], expected.numpy(), rtol=0, atol=1e-5)


class Second(Part):
    """A process whose first one has begun another training."""

    def data_of_first(self, data: bytes | None) -> bytes | None:
        return b"another"


def test_a_process_with_other_data_than_the_first_is_refused() -> None:
    with pytest.raises(IntegrityError, match="process 1 of 2: it has another training than the first one"):
        Second(1, 2).require_same("training", "this one")


def test_what_needs_a_whole_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"resources\.teach@x\.processes: batch normalisation .* set 1"):
        require_divisible("resources.teach@x", nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    with pytest.raises(ConfigError, match=r"resources\.distil@x\.processes: terms on features"):
        require_divisible("resources.distil@x", nn.Linear(3, 3), features=True)
