"""What torch's launcher starts twice in a test: a small training; its second process may kill itself, or both wait."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from tasks.core.storage import FolderStore
from tasks.distillation.checkpoint import StoreCheckpoint
from tasks.distillation.processes import is_first, own_part
from tasks.distillation.trainer import set_up, train
from tasks.problems.blocks.weights import save_weights
from tests.unit.distillation.test_trainer import TRAINING, goal, rows_of

BATCHES = 5


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))


def main(folder: Path, dies_in: int) -> None:
    """Train, and leave the weights; `dies_in`: the epoch in which one process ends, 0 for none, -1: both wait."""
    set_up(0, 1)
    if dies_in < 0:
        (folder / f"started-{own_part().rank}").write_text(str(os.getpid()))
        time.sleep(600)
    model, steps = network(), 0

    def after_step(_model: nn.Module) -> None:
        nonlocal steps
        steps += 1
        if not own_part().first and dies_in and steps == BATCHES * (dies_in - 1) + 2:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint = StoreCheckpoint(FolderStore(folder), "state")
    history = train(model, rows_of(), goal(), TRAINING, seed=3, checkpoint=checkpoint, after_step=after_step)
    if is_first():
        (folder / "weights").write_bytes(save_weights(model))
        (folder / "ran").write_text(f"{steps // BATCHES} of {len(history.valid)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
