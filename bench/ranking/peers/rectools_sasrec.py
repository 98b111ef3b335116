"""RecTools' SASRec with cross-entropy over the whole catalogue, trained by its own trainer on a night's rows.

It orders a user's events by their time, so their place stands for it: the order is ours. A user's events are cut into
pieces, each a user of its own, so that all of them are learned from. Rows are asked as users with their history alone.
Every few epochs the validation rows are scored by the product's metric; the best of those weights are taken. Where a
night has a last fit, the best run is trained anew with the events that validated, for as many epochs.
"""

import copy
import logging
import warnings
from collections.abc import Mapping
from itertools import pairwise
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from bench.ranking.exchange import Codes, Rows
from bench.ranking.peers import Result, ndcg

DROPOUTS = (0.2, 0.4)
EPOCHS, EVERY, PATIENCE = 60, 4, 2
NAMED = 500
OPTIONS: Mapping[str, Any] = {"n_factors": 64, "n_blocks": 2, "n_heads": 2, "lr": 0.002, "batch_size": 64}


def fit_predict(rows: Rows, seed: int) -> Result:
    """Choose the dropout and the epoch on validation."""
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    tried, runs, seconds = {}, [], []
    for dropout in DROPOUTS:
        begun = process_time()
        runs.append(_Run(rows, dropout, seed))
        seconds.append(process_time() - begun)
        tried[f"dropout {dropout:g}, epoch {runs[-1].epoch}"] = runs[-1].best
    run = max(runs, key=lambda run: run.best)
    chosen = runs.index(run)
    if len(rows.newest):
        begun = process_time()
        run = _Run(rows, run.dropout, seed, epochs=run.epoch)
        seconds[chosen] = process_time() - begun
    return Result(
        scores=run.scores(rows.test_history),
        size=sum(weights.nbytes for weights in run.model.torch_model.parameters()),
        settings={**OPTIONS, "dropout_rate": run.dropout, "epochs": run.epoch},
        tried=tried,
        fit_seconds=seconds[chosen],
    )


class _Run:
    """A run is one training; `best`: NDCG@10 on validation after `epoch` epochs.

    With `epochs` it learns from the newest rows, too, and so long.
    """

    def __init__(self, rows: Rows, dropout: float, seed: int, epochs: int | None = None) -> None:
        seed_everything(seed)
        self.rows, self.dropout, self.best, self.epoch = rows, dropout, -1.0, 0
        length = rows.history.shape[1]
        self.model = SASRecModel(
            **OPTIONS, loss="softmax", dropout_rate=dropout, session_max_len=length, deterministic=True
        )
        self.model.recommend_torch_device = "cpu"
        if epochs is not None:
            learned = _pieces(rows.newest, rows.newest_starts, length)
            for _ in range(0, epochs, EVERY):
                self.model.fit_partial(learned, min_epochs=EVERY, max_epochs=EVERY)
            self.epoch = epochs
            return
        learned = _pieces(rows.learned, rows.starts, length)
        weights: dict[str, torch.Tensor] = {}
        for epoch in range(EVERY, EPOCHS + 1, EVERY):
            self.model.fit_partial(learned, min_epochs=EVERY, max_epochs=EVERY)
            found = ndcg(rows, self.scores(rows.valid_history))
            if found > self.best:
                self.best, self.epoch = found, epoch
                weights = copy.deepcopy(self.model.lightning_model.state_dict())
            if epoch - self.epoch >= PATIENCE * EVERY:
                break
        self.model.lightning_model.load_state_dict(weights)

    def scores(self, history: Codes) -> NDArray[np.float32]:
        """Return (n, items): less the rank of the NAMED best; then the most popular, also of an empty history."""
        found = np.repeat(-NAMED - np.arange(1, self.rows.size + 1, dtype=np.float32)[None], len(history), axis=0)
        line, place = np.nonzero(history)
        asked = _dataset(line, history[line, place], place)
        named = self.model.recommend(
            np.unique(line), asked, k=min(NAMED, self.rows.size), filter_viewed=True, on_unsupported_targets="ignore"
        )
        found[named[Columns.User], named[Columns.Item] - 1] = -named[Columns.Rank].to_numpy(np.float32)
        return found


def _pieces(learned: Codes, starts: Codes, length: int) -> Dataset:
    """Return learned events; the last of a piece is the first of the next, where it is not asked for."""
    user: list[Codes] = []
    item: list[Codes] = []
    place: list[Codes] = []
    for begin, end in pairwise(starts):
        for start in range(begin, max(end - 1, begin + 1), length):
            codes = learned[start : min(start + length + 1, end)]
            user.append(np.full(len(codes), len(user)))
            item.append(codes)
            place.append(np.arange(len(codes)))
    return _dataset(np.concatenate(user), np.concatenate(item), np.concatenate(place))


def _dataset(user: Codes, item: Codes, place: Codes) -> Dataset:
    moments = pd.Timestamp("2000-01-01") + pd.to_timedelta(place, unit="D")
    return Dataset.construct(
        pd.DataFrame({Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: moments})
    )
