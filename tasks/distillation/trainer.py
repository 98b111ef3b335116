"""Every network is trained by this loop: early stopping, resumable, reproducible, on a GPU if there is one."""

import copy
import hashlib
import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.core.errors import ConfigError
from tasks.distillation.checkpoint import Checkpoint, pack, unpack
from tasks.distillation.muon import Muon, is_filter
from tasks.distillation.objective import Objective
from tasks.distillation.options import Training
from tasks.distillation.processes import NORMS, Part, join, own_part, require_divisible
from tasks.problems.base import Dataset, Floats, Rows
from tasks.problems.blocks.features import Featured, Mapped, Shown
from tasks.problems.blocks.inputs import inputs_of
from tasks.problems.blocks.outputs import outputs

log = logging.getLogger(__name__)

WARM_UP = 0.1
GRADIENT_LIMIT = 1.0
PREDICTION_BATCH = 1024
FINGERPRINT_ROWS = 64


@runtime_checkable
class BeginsWithData(Protocol):
    """A model BeginsWithData when some of its first weights are computed from training rows."""

    def begin(self, dataset: Dataset, rows: Rows) -> None:
        """Compute these weights, unless they have been: a model may be trained further."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """TrainingData names the rows `train` and `valid` of `dataset`.

    `error(output, target)`: watched by early stopping, lower is better. Without rows `valid` nothing is watched.
    """

    dataset: Dataset
    train: Rows
    valid: Rows
    error: Callable[[Floats, NDArray[Any]], float]


@dataclass
class History:
    """History holds each epoch's mean training loss and validation error; `best`: epoch of the kept weights, from 0.

    It is -1 when training made the first weights no better. `settled`: what they told a model that fits itself.
    """

    train: list[float] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    best: int = 0
    settled: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, for history.json."""
        told = {"train": self.train, "valid": self.valid, "best": self.best}
        return told | ({"settled": self.settled} if self.settled else {})


Progress = Callable[[int, float, float], None]
AfterStep = Callable[[nn.Module], None]


def set_up(seed: int, threads: int) -> None:
    """Seed torch's global generator (initial weights) and make results independent of chance and scheduling.

    One of several processes meets the others.
    """
    join()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is refused as not deterministic
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # its sibling use_deterministic_algorithms takes two seconds
    torch.manual_seed(seed)


@cache
def device() -> torch.device:
    """Return where networks are trained: on the GPU, in bfloat16 and compiled, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(  # noqa: PLR0913 named arguments
    model: nn.Module,
    data: TrainingData,
    objective: Objective,
    training: Training,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    after_step: AfterStep | None = None,
    only_better: bool = False,
    ends: int | None = None,
) -> History:
    """Train in place on the objective, and leave the weights of the best epoch, on the CPU.

    By AdamW; filters by Muon, if the training says so.
    `only_better`: than the first weights, which else stay; for weights that have learned something before. `ends`:
    after so many of the planned epochs. Without validation rows no epoch is the best, and the last one's weights stay.

    The learning rate rises over the first tenth of the steps and falls as a cosine to zero (Loshchilov & Hutter 2017).
    Each epoch draws its order, its dropout and its augmentation from (seed, epoch) alone, so training that resumes
    from `checkpoint` ends with the weights of one that was never interrupted. A checkpoint of other settings, first
    weights or data, or a broken one, is not used.
    `progress(epoch, loss, error)` is called after each epoch, `after_step(model)` after each step (pruning masks).

    Several processes divide each batch: the weights are those of one that has it whole, as far as sums of numbers go
    that are added in another order. Augmentation is the same too; dropout is drawn by each process for its own rows.
    The first measures, reads the checkpoint, saves it and reports.
    Raises DataError when the objective lacks a training row, ConfigError when batches cannot be divided.
    """
    objective.check(data.train)
    mine = own_part()
    if mine.count > 1:
        require_divisible("resources", model, features=bool(len(objective.alignments)))
    if isinstance(model, BeginsWithData):
        model.begin(data.dataset, data.train)
    last = training.epochs if ends is None else min(ends, training.epochs)
    loop = _Loop(model, objective, training, _fingerprint(model, data, objective, training, seed, mine), last)
    mine.require_same("training", loop.fingerprint)

    def measured() -> float:
        if not len(data.valid):
            return math.nan
        error = (
            data.error(
                predict(model, data.dataset, data.valid, narrow=training.narrow), data.dataset.target(data.valid)
            )
            if mine.first
            else 0
        )
        return float(mine.of_first(torch.tensor([error], dtype=torch.float64)))

    if only_better and len(data.valid):
        loop.begin(measured())
    if checkpoint is not None:
        loop.resume(mine.data_of_first(checkpoint.load() if mine.first else None))
    while not loop.finished:
        loss = _epoch(loop, data, seed, after_step, mine)
        error = measured()
        loop.record(loss, error)
        if checkpoint is not None and mine.first:
            checkpoint.save(loop.state())
        if progress is not None and mine.first:
            progress(len(loop.history.valid), loss, error)
    model.load_state_dict(loop.best)
    model.cpu().eval()
    return loop.history


def predict(
    model: nn.Module,
    dataset: Dataset,
    rows: Rows,
    progress: Callable[[int], None] | None = None,
    *,
    narrow: bool = False,
) -> Floats:
    """Return (len(rows), *output_shape) outputs of the model, in evaluation mode, where its weights are.

    `progress(rows)` is called with the number of rows predicted so far. `narrow`: computed in bfloat16.
    """

    def call(*inputs: Tensor) -> Tensor:
        with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=narrow):
            found: Tensor = model(*inputs)
        return found.float() if narrow else found

    return _forward(model, call, dataset, rows, progress)


def features(model: nn.Module, dataset: Dataset, rows: Rows, of: Shown = "features") -> Floats:
    """Return (len(rows), width) features of a `Featured` model, or of a `Mapped` one its attention or maps.

    All in evaluation mode, where its weights are.
    """
    if of != "features":
        assert isinstance(model, Mapped)
        mapped = model
        return _forward(model, lambda *inputs: mapped.with_maps(*inputs)[1][of], dataset, rows)
    assert isinstance(model, Featured)
    return _forward(model, model.features, dataset, rows)


def _forward(
    model: nn.Module,
    call: Callable[..., Tensor],
    dataset: Dataset,
    rows: Rows,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    names = inputs_of(model, dataset.contract.inputs)
    return outputs(model, dataset.batches(rows, names, most=PREDICTION_BATCH), call, progress)


class _Loop:
    """A loop holds everything that changes from epoch to epoch, to and from a checkpoint."""

    def __init__(self, model: nn.Module, objective: Objective, training: Training, fingerprint: str, last: int) -> None:
        self.model, self.objective = model.to(device()), objective.to(device())
        self.compiled = torch.compile(model) if device().type == "cuda" else model
        self.training, self.fingerprint, self.last = training, fingerprint, last
        self.narrow = device().type == "cuda" or training.narrow
        balance = [] if objective.balance is None else list(objective.balance.parameters())
        others = (*model.parameters(), *objective.parameters())
        trained = [each for each in others if each.requires_grad and not any(each is one for one in balance)]
        filters = [] if training.muon is None else [each for each in trained if is_filter(each)]
        if training.muon is not None and not filters:
            raise ConfigError(f"training.muon: a {type(model).__name__} has no filters; leave it out")
        left = [each for each in trained if not any(each is one for one in filters)]
        groups: list[dict[str, Any]] = [{"params": left}]
        if balance:  # of them decay would make equal weights, whatever the losses say
            groups.append({"params": balance, "weight_decay": 0.0})
        self.parameters = [*trained, *balance]
        self.optimizer = torch.optim.AdamW(
            groups, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.muon = Muon(filters, training.muon) if filters and training.muon is not None else None
        self.history = History()
        self.least = math.nan
        self.best = copy.deepcopy(model.state_dict())

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return what takes the steps, by the name under which a checkpoint has its moments."""
        return {"optimizer": self.optimizer} | ({} if self.muon is None else {"muon": self.muon})

    def step(self, share: float) -> None:
        """Take a step at a `share` of the learning rates."""
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.training.learning_rate
        self.optimizer.step()
        if self.muon is not None and self.training.muon is not None:
            self.muon.param_groups[0]["lr"] = share * self.training.muon
            self.muon.step()

    @property
    def epoch(self) -> int:
        """Return the number of finished epochs."""
        return len(self.history.valid)

    @property
    def finished(self) -> bool:
        """Return whether all epochs are done, or the last `patience` ones were no better than the best."""
        stale = self.epoch - 1 - self.history.best
        return self.epoch >= self.last or (self.epoch > 0 and stale >= self.training.patience)

    def begin(self, error: float) -> None:
        """Take the first weights for the best so far."""
        self.history.best, self.least = -1, error

    def record(self, loss: float, error: float) -> None:
        """Note an epoch's figures, and its weights when it is the best so far. A NaN error is never the best."""
        self.history.train.append(loss)
        self.history.valid.append(error)
        if error < self.least or math.isnan(self.least):
            self.history.best, self.least = self.epoch - 1, error
            self.best = copy.deepcopy(self.model.state_dict())

    def state(self) -> bytes:
        """Return the loop as bytes."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"objective.{name}": tensor for name, tensor in self.objective.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for kind, optimizer in self.optimizers.items():
            for number, values in optimizer.state_dict()["state"].items():
                tensors |= {f"{kind}.{number}.{name}": tensor for name, tensor in values.items()}
        return pack(tensors, {"fingerprint": self.fingerprint, "history": self.history.to_json()})

    def resume(self, data: bytes | None) -> None:
        """Continue from `state()` bytes; nothing happens without any, or with broken ones or another training's."""
        if data is None:
            return
        try:
            tensors, facts = unpack(data)
        except ValueError as error:
            log.warning("checkpoint: %s; training starts anew", error)
            return
        if facts["fingerprint"] != self.fingerprint:
            log.warning("checkpoint: it belongs to another training; this one starts anew")
            return
        self.history = History(**facts["history"])
        if self.history.best >= 0:
            self.least = self.history.valid[self.history.best]
        self.model.load_state_dict(_below("model.", tensors))
        self.objective.load_state_dict(_below("objective.", tensors))
        self.best = _below("best.", tensors)
        for kind, optimizer in self.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(f"{kind}.", tensors).items():
                number, name = key.split(".", 1)
                moments.setdefault(int(number), {})[name] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _fingerprint(
    model: nn.Module, data: TrainingData, objective: Objective, training: Training, seed: int, mine: Part
) -> str:
    """Return all that must be equal for a checkpoint to be continued: settings, first weights, a sample of the data."""
    digest = hashlib.sha256()

    def add(name: str, values: NDArray[Any]) -> None:
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())

    for name, tensor in model.state_dict().items():
        add(name, tensor.numpy())
    for part in (data.train, data.valid):
        if not len(part):
            continue
        rows = part[:: max(1, len(part) // FINGERPRINT_ROWS)]
        add("rows", rows)
        for name, values in data.dataset.inputs(rows).items():
            add(name, values)
        add("target", data.dataset.target(rows))
        digest.update(objective.digest(rows).encode())
    counts = f"rows={len(data.train)}/{len(data.valid)}" + (f" processes={mine.count}" if mine.count > 1 else "")
    return f"{training.model_dump_json()} seed={seed} {counts} sha256={digest.hexdigest()}"


def _epoch(loop: _Loop, data: TrainingData, seed: int, after_step: AfterStep | None, mine: Part) -> float:
    """Pass once over the training rows, or over `batches_per_epoch` random batches; return the mean loss of a step."""
    size, where = loop.training.batch_size, device()
    order = np.random.default_rng([seed, loop.epoch]).permutation(data.train)
    chance = np.random.default_rng([seed, loop.epoch, 1])
    parts = _parts(len(order), size, loop.model)[: loop.training.batches_per_epoch]
    steps = len(parts)
    planned = loop.training.epochs * steps
    loop.model.train()
    total = torch.zeros((), dtype=torch.float64, device=where)
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(seed * 100_003 + loop.epoch + mine.rank * 1_000_000_007)
        for step, part in enumerate(parts):
            rows, done = order[part], loop.epoch * steps + step
            loss = loop.objective.loss(
                loop.compiled, rows, done / planned, chance, where, epoch=loop.epoch, narrow=loop.narrow, mine=mine
            )
            for weights in loop.parameters:
                weights.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            mine.add_up([each.grad for each in loop.parameters if each.grad is not None])
            nn.utils.clip_grad_norm_(loop.parameters, GRADIENT_LIMIT)
            loop.step(_share_of_rate(done, planned))
            if after_step is not None:
                after_step(loop.model)
            total += loss.detach()  # no float(): it would wait for a GPU in every step
    mine.add_up([total])
    return float(total) / steps


def _parts(count: int, size: int, model: nn.Module) -> list[slice]:
    """Return the rows of each step: `size` of them, and what is left.

    One row that is left alone joins the step before it, if the model normalises batches: torch refuses one value.
    """
    starts = list(range(0, count, size))
    normalises = any(isinstance(module, NORMS) for module in model.modules())
    if normalises and len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count], strict=True)]


def _share_of_rate(step: int, steps: int) -> float:
    warm = max(1, int(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
