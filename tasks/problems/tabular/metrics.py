"""This module defines errors of class predictions, and the naive baseline. Outputs are logits (n, classes)."""

import numpy as np

from tasks.problems.base import Floats, Score
from tasks.problems.blocks.classes import Labels, calibration_error, macro_f1, probabilities, roc_auc


def score_classes(logits: Floats, target: Labels) -> Score:
    """Score log loss, the mean of -log p(true class); every row weighs 1.

    Metrics: accuracy; macro_f1 (mean F1 of the classes that occur); brier (mean of the sum over classes of
    (p - [true])^2); calibration_error; buyer_auc (ROC AUC of 1 - p(first class) for the label "not the first class";
    only if both occur).
    """
    chances = probabilities(logits)
    rows = np.arange(len(target))
    # The smallest positive float stands for a chance that underflowed to 0.
    loss = -np.log(np.maximum(chances[rows, target], np.finfo(np.float64).tiny))
    predicted = chances.argmax(axis=1)
    actual = np.eye(chances.shape[1])[target]
    metrics = {
        "accuracy": float((predicted == target).mean()),
        "macro_f1": macro_f1(predicted.astype(np.int64), target),
        "brier": float(((chances - actual) ** 2).sum(axis=1).mean()),
        "calibration_error": calibration_error(chances, target, np.ones(len(target))),
    }
    buys = target > 0
    if buys.any() and not buys.all():
        metrics["buyer_auc"] = roc_auc(-chances[:, 0], buys)
    return Score(loss=loss, weight=np.ones(len(target)), metrics=metrics)


def transitions(previous: Labels, following: Labels, classes: int) -> Floats:
    """Return (classes, classes) log shares of rows that went from a class (line) to the next, each count plus one."""
    counts = np.ones((classes, classes))
    np.add.at(counts, (previous, following), 1)
    shares: Floats = np.log(counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
