"""A training minimises this objective: the truth, and for a student its teacher too."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.core.errors import DataError
from tasks.distillation.adaptive import Balance, shortfall
from tasks.distillation.alignment import Alignment
from tasks.distillation.processes import WHOLE, Part
from tasks.problems.base import Augment, Dataset, Floats, HardRows, Inputs, Labelled, Rows, SoftRows, rows_within
from tasks.problems.blocks.features import Shown
from tasks.problems.blocks.inputs import inputs_of

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Aligned:
    """Aligned is a loss on a teacher's features (all rows, width), with the fold of each row, (all rows,).

    `of`: what of the models it compares.
    """

    weight: float
    loss: Alignment
    features: NDArray[np.floating]
    fold: NDArray[np.int64]
    of: Shown = "features"


@dataclass(frozen=True)
class Made:
    """Made holds rows that nobody has observed: their inputs, the teachers' outputs, and the row each was made of.

    `share`: how many of them go with each row of a batch.
    """

    inputs: Inputs
    soft: Floats
    parents: Rows
    share: float

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the numbers of the made rows that go with a batch of `count`."""
        return rng.integers(len(self.parents), size=max(1, round(self.share * count)))


@dataclass(frozen=True)
class Teaching:
    """Teaching holds the teachers' outputs and the losses by which a student learns from them.

    `soft`: (all rows, *output_shape) teacher's outputs, read for training rows only.

    `alpha(done)`: weight of the truth when the share `done` of the steps is past. `losses`: (weight, loss) each.
    `trust` (all rows,): what the teacher's weight is multiplied by, 0 … 1; None: 1. `by_gap`: by the student's
    `shortfall` as well. `balance` learns the weights instead.
    """

    soft: Floats
    alpha: Callable[[float], float]
    losses: Sequence[tuple[float, SoftRows]]
    trust: Floats | None = None
    aligned: Sequence[Aligned] = ()
    made: Made | None = None
    by_gap: bool = False
    balance: Balance | None = None


class Objective(nn.Module):
    """The loss is the mean over rows of (1 - w) hard + w (sum of weight * soft loss), w = (1 - alpha) * trust.

    Without teaching w = 0. To it is added, with made rows, `share` times the mean over these of w (sum of soft losses).
    A balance weighs the means of hard and soft losses instead. A model may give a row several answers in training, an
    axis before those of the contract's output: their losses are averaged.

    Its parameters, projectors of features and a balance's weights, are trained with the model. `settings`: any text; a
    checkpoint of a training with another one is not continued.
    """

    def __init__(
        self,
        dataset: Dataset,
        hard: HardRows,
        teaching: Teaching | None = None,
        *,
        augment: Augment | None = None,
        settings: str = "",
    ) -> None:
        super().__init__()
        self.dataset, self.hard, self.teaching, self.augment, self.settings = dataset, hard, teaching, augment, settings
        self.alignments = nn.ModuleList(part.loss for part in teaching.aligned) if teaching else nn.ModuleList()
        self.balance = teaching.balance if teaching else None

    def check(self, rows: Rows) -> None:
        """Check the rows. Raises DataError when a training row has no soft target or no teacher's features."""
        if self.teaching is None:
            return
        given = [self.teaching.soft, *(part.features for part in self.teaching.aligned)]
        if not all(np.isfinite(values[part]).all() for values in given for part in _parts(values, rows)):
            raise DataError("soft targets: missing for some training rows; run the teachers again")

    def loss(
        self,
        model: Forward,
        rows: Rows,
        done: float,
        rng: np.random.Generator,
        device: torch.device,
        *,
        epoch: int = 0,
        narrow: bool = False,
        mine: Part = WHOLE,
    ) -> Tensor:
        """Return the loss of one batch, with gradient; `done`: share of the training's steps that are past.

        `epoch`: the number of those that are past. `narrow`: the model computes in bfloat16, the losses do not. `mine`:
        the part of the batch that counts here; the losses of all parts add up to that of the batch.
        """
        names = inputs_of(model, self.dataset.contract.inputs)
        count = len(rows)
        rows, batch, portion = self._part(rows, names, rng, epoch, mine)

        def tensor(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(values).to(device, non_blocking=True)

        inputs = [tensor(batch.inputs[name]) for name in names]
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            output, shown = self._answer(model, inputs)
        output, target = output.float(), tensor(batch.target)
        teaching = self.teaching
        if teaching is None or batch.soft is None:
            return portion * self._truth(rows, output, target).mean()
        soft = tensor(batch.soft)

        def taught() -> Tensor:
            parts = [weight * self._by_row(loss, output, soft, target) for weight, loss in teaching.losses]
            for part in teaching.aligned:
                theirs, fold = tensor(part.features[rows].astype(np.float32)), tensor(part.fold[rows])
                parts.append(part.weight * part.loss(shown[part.of].float(), theirs, fold))
            return torch.stack(parts).sum(dim=0)

        made = self._of_made(teaching, model, count, done, rng, device, narrow=narrow, mine=mine)
        if self.balance is not None:
            hard = portion * self._truth(rows, output, target).mean()
            balanced: Tensor = self.balance(hard, portion * taught().mean() + made, portion)
            return balanced
        share = _share(teaching, rows, done, device)
        if teaching.by_gap:
            share = share * shortfall(self._by_row(self.hard, output, target), self.hard(soft, target))
        total = output.new_zeros(())
        if isinstance(share, Tensor) or share < 1:
            total = total + (1 - share) * self._truth(rows, output, target)
        if isinstance(share, Tensor) or share > 0:
            total = total + share * taught()
        mean: Tensor = portion * total.mean() + made
        return mean

    def _answer(self, model: Any, inputs: list[Tensor]) -> tuple[Tensor, Mapping[Shown, Tensor]]:
        """Return the model's output, and what of it the terms compare."""
        wanted = {part.of for part in self.teaching.aligned} if self.teaching else set()
        if wanted - {"features"}:
            output, shown = model.with_maps(*inputs)
            return output, shown
        if wanted:
            output, features = model.with_features(*inputs)
            return output, {"features": features}
        return model(*inputs), {}

    def _of_made(
        self,
        teaching: Teaching,
        model: Forward,
        count: int,
        done: float,
        rng: np.random.Generator,
        device: torch.device,
        *,
        narrow: bool,
        mine: Part,
    ) -> Tensor | float:
        """Return the part of the loss, (), that rows have which the teachers alone have labelled."""
        made = teaching.made
        if made is None:
            return 0.0
        drawn = made.draw(count, rng)
        here, portion = mine.of(len(drawn))
        chosen = drawn[here]
        parents = made.parents[chosen]
        inputs = [
            torch.from_numpy(made.inputs[name][chosen]).to(device)
            for name in inputs_of(model, self.dataset.contract.inputs)
        ]
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            output = model(*inputs)
        soft, target = (
            torch.from_numpy(values).to(device) for values in (made.soft[chosen], self.dataset.target(parents))
        )
        parts = [weight * self._by_row(loss, output.float(), soft, target) for weight, loss in teaching.losses]
        share = 1.0 if self.balance is not None else _share(teaching, parents, done, device)
        part: Tensor = portion * made.share * (share * torch.stack(parts).sum(dim=0)).mean()
        return part

    def _truth(self, rows: Rows, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row by the truth, (n,), times what the row counts."""
        found, weights = self._by_row(self.hard, output, target), self.dataset.weights(rows)
        return found if weights is None else found * torch.from_numpy(weights).to(found.device)

    def _by_row(self, loss: Callable[..., Tensor], output: Tensor, *labels: Tensor) -> Tensor:
        """Return the loss of each row, (n,), the mean of its answers' where it has several."""
        if output.dim() == 1 + len(self.dataset.contract.output_shape):
            return loss(output, *labels)
        count = output.shape[1]
        each = loss(output.flatten(0, 1), *(label.repeat_interleave(count, dim=0) for label in labels))
        return each.view(-1, count).mean(dim=1)

    def _part(
        self, rows: Rows, names: Collection[str], rng: np.random.Generator, epoch: int, mine: Part
    ) -> tuple[Rows, Labelled, float]:
        """Return a part of a batch, and its share of it; the whole is made first, because rows may be mixed in it."""
        batch, (here, portion) = self._batch(rows, names, rng, epoch), mine.of(len(rows))
        if mine.count == 1:
            return rows, batch, portion
        inputs = {name: values[here] for name, values in batch.inputs.items()}
        soft = None if batch.soft is None else batch.soft[here]
        return rows[here], Labelled(inputs, batch.target[here], soft), portion

    def _batch(self, rows: Rows, names: Collection[str], rng: np.random.Generator, epoch: int) -> Labelled:
        soft = None if self.teaching is None else self.teaching.soft[rows]
        batch = Labelled(self.dataset.inputs(rows, names), self.dataset.target(rows), soft, epoch)
        return self.augment.apply(batch, self.dataset.contract, rng) if self.augment else batch

    def digest(self, rows: Rows) -> str:
        """Return the SHA-256 of the objective's data for these rows and its first weights: it identifies a training."""
        digest = hashlib.sha256(self.settings.encode())
        values: dict[str, NDArray[Any]] = {name: part.cpu().numpy() for name, part in self.state_dict().items()}
        if self.teaching is not None:
            values["alpha"] = np.array([self.teaching.alpha(done) for done in (0.0, 0.25, 0.5, 0.75, 1.0)])
            values["soft"] = self.teaching.soft[rows]
            if self.teaching.trust is not None:
                values["trust"] = self.teaching.trust[rows]
            if self.teaching.by_gap:
                values["by_gap"] = np.array(1)
            if self.teaching.made is not None:
                values |= {"made": self.teaching.made.soft[: len(rows)], "parents": self.teaching.made.parents}
            for number, part in enumerate(self.teaching.aligned):
                values |= {f"features.{number}": part.features[rows], f"fold.{number}": part.fold[rows]}
        if (weights := self.dataset.weights(rows)) is not None:
            values["weights"] = weights
        for name, array in values.items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _share(teaching: Teaching, rows: Rows, done: float, device: torch.device) -> float | Tensor:
    """Return the weight of the teachers, of all rows or (n,) of each."""
    share = 1 - teaching.alpha(done)
    if teaching.trust is None:
        return share
    return share * torch.from_numpy(teaching.trust[rows]).to(device)


def _parts(values: NDArray[Any], rows: Rows) -> Iterator[Rows]:
    """Yield as many of the rows at a time as can be read at once of `values`, which may lie on a disk."""
    size = rows_within(values.nbytes // max(1, len(values)))
    return (rows[start : start + size] for start in range(0, len(rows), size))
