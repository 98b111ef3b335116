"""Disturbances of a history for the robustness gate."""

import math

import numpy as np

from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs
from tasks.problems.ranking.dataset import HISTORY

KINDS = ("noise", "shorten", "shuffle")


def disturb(kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
    """Return histories under a disturbance of `level`, 0 to 1. Raises ConfigError on an unknown kind.

    `noise`: so large a share of the items is replaced by items of any of these histories; `shorten`: so large a share
    of each history is lost, the oldest items first; `shuffle`: each item moves by up to this share of its history.
    """
    rng = np.random.default_rng(seed)
    history = inputs[HISTORY].copy()
    there = history > 0
    if kind == "noise":
        changed = there & (rng.random(history.shape) < level)
        history[changed] = rng.choice(history[there], int(changed.sum()))
    elif kind == "shorten":
        kept = np.array([math.ceil(count * (1 - level)) for count in there.sum(axis=1)])
        history[np.arange(history.shape[1]) < history.shape[1] - kept[:, None]] = 0
    elif kind == "shuffle":
        count = there.sum(axis=1, keepdims=True)
        place = np.arange(history.shape[1]) + level * count * rng.uniform(-1, 1, history.shape)
        order = np.argsort(np.where(there, place, -np.inf), axis=1, kind="stable")
        history = np.take_along_axis(history, order, axis=1)
    else:
        raise ConfigError(f"gates.robustness: unknown kind {kind!r}; there are: {', '.join(KINDS)}")
    return {**inputs, HISTORY: history}
