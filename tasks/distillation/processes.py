"""A network may be trained by several processes: each takes its part of every batch, and their gradients are added up.

torch's own launcher starts them; the first alone reads checkpoints and writes.
"""

import atexit
import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tasks.core.errors import ConfigError, IntegrityError, UnavailableError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
PATIENCE = timedelta(days=1)
"""One waits so long for the others: a killed one is noticed at once, and one that labels many rows takes its time."""
GRACE_SECONDS = 5
"""So long has torch's launcher to end the processes, once their stage is ended early."""
ALONE = "set processes and nodes to 1"
_DEATH_SIGNAL = 1
"""So Linux numbers the option of prctl that says which signal follows the parent's end."""


@dataclass(frozen=True)
class Part:
    """A Part is what process `rank` of `count` does of a training."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Return whether it is the one that reads checkpoints, writes and logs."""
        return self.rank == 0

    def of(self, rows: int) -> tuple[slice, float]:
        """Return which of a batch's rows are this process's, and their share of the batch.

        One that none is left for takes the first row with the share 0: all processes then have the same gradients to
        add up.
        """
        start, end = rows * self.rank // self.count, rows * (self.rank + 1) // self.count
        return (slice(start, end), (end - start) / rows) if end > start else (slice(0, 1), 0.0)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one sort of number by their sums over all processes, the same bits in each."""
        if self.count == 1:
            return
        together = torch.cat([each.reshape(-1) for each in tensors])
        with _others():
            dist.all_reduce(together)
        totals = torch.split(together, [each.numel() for each in tensors])
        for mine, total in zip(tensors, totals, strict=True):
            mine.copy_(total.view_as(mine))

    def of_first(self, values: Tensor) -> Tensor:
        """Return the first process's values, (n,), in all processes; those of the others may be of another length."""
        if self.count == 1:
            return values
        where = _place()
        with _others():
            length = torch.tensor([len(values)], device=where)
            dist.broadcast(length, 0)
            told = values.to(where) if self.first else torch.empty(int(length), dtype=values.dtype, device=where)
            dist.broadcast(told, 0)
        return told.cpu()

    def data_of_first(self, data: bytes | None) -> bytes | None:
        """Return the first process's bytes in all processes; None if it has none."""
        if self.count == 1:
            return data
        sent = b"\0" if data is None else b"\1" + data
        told = self.of_first(torch.frombuffer(bytearray(sent), dtype=torch.uint8)).numpy().tobytes()
        return told[1:] if told[0] else None

    def require_same(self, what: str, fingerprint: str) -> None:
        """Raise IntegrityError when this process's fingerprint is not the first one's."""
        mine = fingerprint.encode()
        if self.data_of_first(mine) != mine:
            raise IntegrityError(f"process {self.rank} of {self.count}: it has another {what} than the first one")


WHOLE = Part()


def own_part() -> Part:
    """Return which part of a training is this process's; the whole, unless it was started as one of several."""
    return Part(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else WHOLE


def started() -> bool:
    """Return whether torch's launcher has started this process as one of several."""
    return dist.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1


def join() -> None:
    """Meet the other processes, if there are any; all but the first then log warnings alone."""
    if not started() or dist.is_initialized():
        return
    _end_with_launcher()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _others():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)
    if not own_part().first:
        logging.getLogger().setLevel(logging.WARNING)


def is_first() -> bool:
    """Return whether this process writes, once all others are past their last exchange: none loses what it waits for.

    They tell so by the launcher's store, which outlives them.
    """
    mine = own_part()
    if mine.count > 1:
        store = dist.distributed_c10d._get_default_store()  # noqa: SLF001 there is no public name for it
        if mine.first:
            store.wait([f"finished-{rank}" for rank in range(1, mine.count)], PATIENCE)
        else:
            store.set(f"finished-{mine.rank}", "1")
    return mine.first


def launch(processes: int, module: str, *arguments: str, nodes: int = 1) -> None:
    """Start `python -m module` with these arguments so many times on this machine, and wait.

    As one of a TrainJob's machines it meets the others; elsewhere all processes of all `nodes` run here, and meet on
    this machine's loopback, out of others' reach. When one ends early, so do the others: UnavailableError. However this
    one ends, none of them is left. Raises ConfigError when there are fewer GPUs, if there is one, or other machines.
    """
    place = _place_among(nodes)
    here = processes if place else processes * nodes
    if torch.cuda.is_available():
        require_gpus(here, torch.cuda.device_count())
    surroundings = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" and not place else None
    # The launcher makes a folder for logs that it does not remove.
    with tempfile.TemporaryDirectory(prefix="nightstill-processes-", ignore_cleanup_errors=True) as folder:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", *(place or ("--standalone", "--local-addr=127.0.0.1"))),
            *(f"--nproc-per-node={here}", "--max-restarts=0", f"--log-dir={folder}", "-m", module, *arguments),
        ]
        launcher = subprocess.Popen(command, env=surroundings)
        try:
            code = launcher.wait()
        except BaseException:  # a signal that ends this stage is one
            _end(launcher)
            raise
    if code:
        raise UnavailableError(
            f"{' '.join(arguments)}: one of its {processes * nodes} processes ended early (killed, out of memory?); "
            "see the lines above; started again, it goes on from its checkpoint"
        )


def _place_among(nodes: int) -> tuple[str, ...]:
    """Return this machine's place among a TrainJob's, for torch's launcher; nothing outside of one.

    Kubeflow's Trainer tells it by variables of that launcher: PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and _PORT.
    """
    told = int(os.environ.get("PET_NNODES", "1"))
    if told == 1:
        return ()
    if told != nodes:
        raise ConfigError(f"resources: nodes is {nodes}, but the TrainJob has {told} machines (PET_NNODES); set it so")
    named = {"nnodes": "NNODES", "node-rank": "NODE_RANK", "master-addr": "MASTER_ADDR", "master-port": "MASTER_PORT"}
    return tuple(f"--{option}={os.environ[f'PET_{variable}']}" for option, variable in named.items())


def require_gpus(processes: int, gpus: int) -> None:
    """Raise ConfigError when there is no GPU for each process."""
    if processes > gpus:
        raise ConfigError(
            f"resources: {processes} processes need a GPU each, there are {gpus} here; set processes: {gpus}"
        )


def require_divisible(where: str, model: nn.Module, *, features: bool = False) -> None:
    """Raise ConfigError when parts of a batch do not add up to the whole. `features`: the loss compares features."""
    if any(isinstance(module, NORMS) for module in model.modules()):
        raise ConfigError(f"{where}: batch normalisation takes its numbers from a whole batch; {ALONE}")
    if features:
        raise ConfigError(f"{where}: terms on features compare the rows of a whole batch; {ALONE}")


def _end(launcher: subprocess.Popen[bytes]) -> None:
    """End the launcher, which ends its processes; those that do not hear it end with it (`_end_with_launcher`)."""
    launcher.terminate()
    try:
        launcher.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def _end_with_launcher() -> None:
    """Let Linux kill this process when its launcher ends: it has a session of its own, which no signal reaches.

    Raises UnavailableError when the launcher has ended already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() == 1:  # a launcher is never the first process: a stage started it
        raise UnavailableError("torch's launcher has ended; start the stage again, and it goes on from its checkpoint")


def _place() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def _others() -> Iterator[None]:
    """Turn the loss of another process into one line."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnavailableError(
            f"another process of this training has ended, or cannot be reached ({said:.120}); start the stage again, "
            "and it goes on from its checkpoint"
        ) from error
