"""Several processes train a network: a killed one costs an epoch at most, and none outlives its stage."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tasks.distillation.trainer import train
from tests.conftest import PROJECT
from tests.integration.scenarios.in_two_processes import network
from tests.ports import free_port
from tests.unit.distillation.test_trainer import TRAINING, goal, rows_of

LAUNCH = """
import signal, sys
from tasks.distillation.processes import launch
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
launch(2, "tests.integration.scenarios.in_two_processes", *sys.argv[1:])
"""
ON_A_NODE = LAUNCH.replace("launch(2,", "launch(1,").replace("*sys.argv[1:])", "*sys.argv[1:], nodes=2)")
PATIENCE = 240
"""So many seconds a test waits for what comes within a few on an idle machine."""
pytestmark = pytest.mark.timeout(600)


def start(folder: Path, dies_in: int = 0, script: str = LAUNCH, **variables: str) -> subprocess.Popen[str]:
    """Start a stage's process, which launches two more; temporary files go to folder/tmp."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    more = {"PYTHONPATH": str(PROJECT), "OMP_WAIT_POLICY": "passive", "TMPDIR": str(temporary), **variables}
    command = [sys.executable, "-c", script, str(folder), str(dies_in)]
    return subprocess.Popen(command, env=os.environ | more, stderr=subprocess.PIPE, text=True)


def logs_of(folder: Path) -> list[str]:
    """The folders of torch's launcher that are left; another one is its cache, for all that a machine's user starts."""
    return [path.name for path in (folder / "tmp").iterdir() if path.name.startswith(("torchelastic", "nightstill"))]


def test_two_processes_find_the_weights_of_one_even_when_one_of_them_is_killed(tmp_path: Path) -> None:
    killed = start(tmp_path, dies_in=3)
    _, said = killed.communicate()
    assert killed.returncode != 0 and "SIGKILL" in said and "one of its 2 processes ended early" in said
    assert not (tmp_path / "weights").exists()
    again = start(tmp_path)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert (tmp_path / "ran").read_text() == "2 of 4", "it did not go on from its checkpoint"
    assert logs_of(tmp_path) == []
    assert_weights_of_one(tmp_path)


def assert_weights_of_one(folder: Path) -> None:
    model = network()
    train(model, rows_of(), goal(), TRAINING, seed=3)
    found = load_file(folder / "weights")
    for name, expected in model.state_dict().items():
        np.testing.assert_allclose(found[name], expected.numpy(), rtol=0, atol=1e-5)


def node(folder: Path, rank: int, port: int, dies_in: int = 0) -> subprocess.Popen[str]:
    """Start what runs on one machine of a TrainJob, told its place as Kubeflow's Trainer tells it."""
    place = {"PET_NNODES": "2", "PET_NODE_RANK": str(rank), "PET_NPROC_PER_NODE": "1"}
    meeting = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    return start(folder, dies_in, ON_A_NODE, **place, **meeting)


def test_two_machines_find_the_weights_of_one_and_the_first_alone_writes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    port = free_port()
    nodes = []
    for rank, folder in enumerate(folders):
        folder.mkdir()
        nodes.append(node(folder, rank, port))
    for each in nodes:
        _, said = each.communicate(timeout=PATIENCE)
        assert each.returncode == 0, said
    assert_weights_of_one(folders[0])
    assert [path.name for path in folders[1].iterdir()] == ["tmp"]
    assert logs_of(folders[0]) == logs_of(folders[1]) == []


def test_a_machine_that_is_lost_ends_the_others_training(tmp_path: Path) -> None:
    port = free_port()
    nodes = [node(tmp_path, rank, port, dies_in=2) for rank in range(2)]
    for each in nodes:
        _, said = each.communicate(timeout=PATIENCE)
        assert each.returncode != 0 and "one of its 2 processes ended early" in said
    assert not (tmp_path / "weights").exists()


def running(process: int) -> bool:
    """Whether it does anything yet: one that has ended may still wait for its parent."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(folder: Path) -> list[int]:
    """The two processes, once both have met."""
    end, files = time.monotonic() + PATIENCE, [folder / "started-0", folder / "started-1"]
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < end, "they never met"
        time.sleep(0.1)
    return [int(file.read_text()) for file in files]


def none_left(processes: list[int]) -> bool:
    end = time.monotonic() + PATIENCE
    while any(map(running, processes)) and time.monotonic() < end:
        time.sleep(0.1)
    left = [process for process in processes if running(process)]
    for process in left:
        os.kill(process, signal.SIGKILL)
    return not left


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("whom", ["stage", "launcher"])
def test_no_process_outlives_its_stage_or_its_launcher(tmp_path: Path, whom: str) -> None:
    stage = start(tmp_path, dies_in=-1)
    processes = wait_for(tmp_path)
    launcher = int(Path(f"/proc/{processes[0]}/stat").read_text().rpartition(")")[2].split()[1])
    if whom == "stage":
        stage.terminate()
    else:
        os.kill(launcher, signal.SIGKILL)
    assert none_left(processes)
    stage.communicate(timeout=PATIENCE)
    assert stage.returncode == (143 if whom == "stage" else 1)
    assert not running(launcher) and logs_of(tmp_path) == []
