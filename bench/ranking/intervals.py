"""Intervals of recommenders' gains: users are drawn anew, with all their rows, the same ones for all models."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.core.errors import DataError

RESAMPLES = 2000
BEFORE, RELEASED = "before the last fit", "released"
OURS = ("teachers", "twin", "student", BEFORE, RELEASED)
Gains = Mapping[str, NDArray[np.float64]]


def intervals(gains: Gains, users: NDArray[np.int64], seed: int) -> dict[str, tuple[list[float], list[float] | None]]:
    """Return the 95 % interval of each model's mean gain, and of what is released: its ratio to it, low, high.

    `gains`: (n,) of each row. Users are drawn anew, with all their rows, the same ones for all models. None: to a
    model without any gain there is no ratio.
    """
    _, place = np.unique(users, return_inverse=True)
    count = int(place.max()) + 1
    sums = np.stack([np.bincount(place, gain, minlength=count) for gain in gains.values()])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    means = (drawn @ sums.T) / (drawn @ np.bincount(place, minlength=count))[:, None]
    released = list(gains).index(RELEASED)
    found = {}
    for number, (model, gain) in enumerate(gains.items()):
        ratio = None
        if means[:, number].min() > 0:
            ratios = means[:, released] / means[:, number]
            ratio = [float(gains[RELEASED].mean() / gain.mean()), *np.quantile(ratios, [0.025, 0.975]).tolist()]
        found[model] = (np.quantile(means[:, number], [0.025, 0.975]).tolist(), ratio)
    return found


def by_user(gains: Gains, users: NDArray[np.int64]) -> dict[str, str]:
    """Return each user's number, and sums of gains of OURS, as lines of text; none where a user has several rows."""
    if len(np.unique(users)) < len(users):
        return {}
    order = np.argsort(users)
    told = {name: " ".join(f"{gain:.4g}" for gain in gains[name][order]) for name in OURS if name in gains}
    return {"users": " ".join(str(user) for user in users[order]), **told}


def together(parts: Sequence[Mapping[str, str]]) -> tuple[Gains, NDArray[np.int64]]:
    """Return the gains of several `by_user` below one another, and whose they are.

    Raises DataError when they are not of the same users: their numbers would not say who is meant.
    """
    if len({part["users"] for part in parts}) > 1:
        raise DataError("by_user: these records are not of the same users; measure all of them again")
    names = [name for name in OURS if all(name in part for part in parts)]
    gains = {name: np.concatenate([np.array(part[name].split(), np.float64) for part in parts]) for name in names}
    return gains, np.concatenate([np.array(part["users"].split(), np.int64) for part in parts])
