"""These teachers learn from all places of a user's events at once, which is many rows for the cost of one."""

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tasks.core.config import Frozen
from tasks.problems.base import Dataset, FeatureContract, Floats, Rows
from tasks.problems.ranking.dataset import HISTORY, Histories
from tasks.problems.ranking.losses import sampled_cross_entropy
from tasks.problems.ranking.metrics import score_ranking
from tasks.problems.ranking.models.encoders import Attention, Recurrent
from tasks.problems.ranking.models.ranker import EncodedRanker

log = logging.getLogger(__name__)

PART = 512
WARM_UP = 0.1
GRADIENT_LIMIT = 1.0
BETAS = (0.9, 0.98)

Codes = NDArray[np.int64]
Matrix = NDArray[np.float32]
Values = TypeVar("Values", Codes, Matrix)


class SequenceOptions(Frozen):
    """These options are those of a network and of its training.

    `epochs` go over all users; learning stops after `patience` looks, one every `look` epochs, without a better
    validation error. `negatives`: what came is told apart from so many items drawn anew in every step, for catalogues
    that are too large to score at every place; None, or as many as there are: from the whole catalogue.
    """

    width: int = Field(default=64, gt=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    epochs: int = Field(default=40, gt=0)
    batch_size: int = Field(default=64, gt=0)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    look: int = Field(default=2, gt=0)
    patience: int = Field(default=4, gt=0)
    negatives: int | None = Field(default=None, gt=0)


class GruOptions(SequenceOptions):
    """`hidden`: numbers of the state."""

    hidden: int = Field(default=128, gt=0)


class TransformerOptions(SequenceOptions):
    """`layers` and `heads` are those of the transformer."""

    layers: int = Field(default=2, gt=0)
    heads: int = Field(default=2, gt=0)


class SequenceRanker(EncodedRanker):
    """A SequenceRanker is trained by cross-entropy over the catalogue, or drawn items of it, at every place.

    It fits itself.
    """

    options: SequenceOptions
    settled: Sequence[float] = ()

    def fit(self, dataset: Dataset, train: Rows, valid: Rows, *, seed: int) -> list[float]:
        assert isinstance(dataset, Histories)
        errors: list[float] = []
        best, least, options = copy.deepcopy(self.state_dict()), math.inf, self.options
        for epoch, loss in enumerate(self._epochs(dataset, train, seed), start=1):
            if epoch % options.look and epoch < options.epochs:
                continue
            errors.append(score_ranking(self._answers(dataset, valid), dataset.target(valid)).error)
            log.info("epoch %d: loss %.4f, validation error %.4f", epoch, loss, errors[-1])
            if errors[-1] < least:
                best, least, self.settled = copy.deepcopy(self.state_dict()), errors[-1], [epoch]
            elif errors.index(min(errors)) < len(errors) - options.patience:
                break
        self.load_state_dict(best)
        self.eval()
        return errors

    def fit_again(self, dataset: Dataset, train: Rows, settled: Sequence[float], *, seed: int) -> None:
        """Learn from `train` for as many epochs as were best before; the learning rate goes the same way."""
        assert isinstance(dataset, Histories)
        self.settled = settled
        for epoch, loss in enumerate(islice(self._epochs(dataset, train, seed), int(settled[0])), start=1):
            log.info("epoch %d of %d: loss %.4f", epoch, settled[0], loss)
        self.eval()

    def _epochs(self, dataset: Histories, train: Rows, seed: int) -> Iterator[float]:
        """Learn from `train`, and yield the last loss of each epoch."""
        sequences, length = dataset.sequences(train), dataset.contract.inputs[HISTORY][1][0]
        weights = dataset.sequence_weights(train)
        rng, options = np.random.default_rng(seed), self.options
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, betas=BETAS
        )
        steps, planned = 0, options.epochs * -(-len(windows(sequences, length, 0)) // options.batch_size)
        for _ in range(options.epochs):
            self.train()
            offset = int(rng.integers(length))
            given = windows(sequences, length, offset)
            counted = None if weights is None else windows(weights, length, offset)
            for read, asked, count in batches(given, options.batch_size, rng, counted):
                for group in optimizer.param_groups:
                    group["lr"] = options.learning_rate * _share(steps / planned)
                there = asked > 0
                loss = self._losses(self.users(read)[there], asked[there] - 1, rng)
                loss = ((loss * count[there]) if weights else loss).mean()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.parameters(), GRADIENT_LIMIT)
                optimizer.step()
                steps += 1
            yield float(loss.detach())

    def _losses(self, users: Tensor, came: Tensor, rng: np.random.Generator) -> Tensor:
        """Return (n,) cross-entropies of the items that came (n,), from 0, by users' vectors (n, width)."""
        catalogue, drawn = len(self.bias), self.options.negatives
        if drawn is None or drawn >= catalogue:
            return functional.cross_entropy(self.scores(users), came, reduction="none")
        items = torch.from_numpy(rng.integers(catalogue, size=drawn))
        right = (users * functional.embedding(came, self.answer_vectors)).sum(dim=1) + self.bias[came]
        return sampled_cross_entropy(right, self.scores(users, items), came[:, None] == items, catalogue)

    def _answers(self, dataset: Histories, rows: Rows) -> Floats:
        self.eval()
        with torch.no_grad():
            parts = [self(torch.from_numpy(dataset.inputs(part)[HISTORY])) for part in dataset.parts(rows, most=PART)]
        return torch.cat(parts).numpy()


def windows(sequences: list[Values], length: int, offset: int) -> list[Values]:
    """Return parts of at most `length` + 1 events, so that every event but a sequence's first is asked once.

    `offset`: by how many events the last part of a long sequence is shorter, so that each epoch cuts elsewhere.
    """
    found = []
    for sequence in sequences:
        end = len(sequence)
        step = length - offset if end > length + 1 else length
        while end > 1:
            found.append(sequence[max(0, end - step - 1) : end])
            end, step = end - step, length
    return found


def batches(
    parts: list[Codes], size: int, rng: np.random.Generator, weights: list[Matrix] | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (n, places) codes to read, and those of the items that came next, 0 for none; parts of like length meet.

    Beside them stand the weights of what came, 1 where parts have none.
    """
    order = np.argsort([len(part) + rng.uniform(0, 8) for part in parts])
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    for number in rng.permutation(len(groups)):
        chosen = [parts[place] for place in groups[number]]
        width = max(len(part) for part in chosen) - 1
        read, asked = (np.zeros((len(chosen), width), np.int64) for _ in range(2))
        count = np.ones((len(chosen), width), np.float32)
        for line, part in enumerate(chosen):
            if weights is not None:
                count[line, width - len(part) + 1 :] = weights[groups[number][line]][1:]
            read[line, width - len(part) + 1 :] = part[:-1]
            asked[line, width - len(part) + 1 :] = part[1:]
        yield torch.from_numpy(read), torch.from_numpy(asked), torch.from_numpy(count)


def _share(done: float) -> float:
    """Return the share of the learning rate after so large a share of the steps: it rises, and falls as a cosine."""
    if done < WARM_UP:
        return max(done, 0.01) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def build_sequence_gru(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    given = GruOptions.model_validate(dict(options))
    model = SequenceRanker(
        contract, given.width, given.dropout, lambda _: Recurrent(given.width, given.hidden, given.dropout)
    )
    model.options = given
    return model


def build_sequence_transformer(options: Mapping[str, Any], contract: FeatureContract) -> nn.Module:
    """Build a network with fresh weights. Raises ValidationError on a wrong option."""
    given = TransformerOptions.model_validate(dict(options))
    model = SequenceRanker(
        contract,
        given.width,
        given.dropout,
        lambda length: Attention(given.width, length, given.layers, given.heads, given.dropout),
    )
    model.options = given
    return model
