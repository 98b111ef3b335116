"""Errors of classes of images: the share that is wrong, or the log loss; the other stands beside it."""

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import FeatureContract, Floats, Score
from tasks.problems.blocks.classes import calibration_error, macro_f1, probabilities

TINY = np.finfo(np.float64).tiny


def score_images(logits: Floats, target: NDArray[np.int64], error: str) -> Score:
    """Score (n, classes) logits; a row with an output that is not finite has a loss that is none, too.

    Metrics beside the error: log_loss or error_rate, brier (the sum over classes of (p - [true])^2), macro_f1 and
    calibration_error.
    """
    chances = probabilities(logits)
    rows, weight = np.arange(len(target)), np.ones(len(target))
    known = np.isfinite(logits).all(axis=1)
    predicted = chances.argmax(axis=1)
    wrong = np.where(known, predicted != target, np.nan)
    # The smallest positive float stands for a chance that underflowed to 0.
    surprise = -np.log(np.maximum(chances[rows, target], TINY))
    losses = {"log_loss": surprise, "error_rate": wrong}
    metrics = {
        **{name: float(values.mean()) for name, values in losses.items() if name != error},
        "brier": float(((chances - np.eye(chances.shape[1])[target]) ** 2).sum(axis=1).mean()),
        "macro_f1": macro_f1(predicted.astype(np.int64), target),
        "calibration_error": calibration_error(chances, target, weight) if known.all() else float("nan"),
    }
    return Score(losses[error], weight, metrics)


def naive_output(contract: FeatureContract, count: int) -> Floats:
    """Return (count, classes) log shares of the classes in training."""
    shares = np.log(np.array(contract.statistics["shares"], np.float64)).astype(np.float32)
    return np.tile(shares, (count, 1))
