"""Errors of labels of texts, and the answer that reads no text."""

import numpy as np

from tasks.problems.base import FeatureContract, Floats, Score
from tasks.problems.blocks.classes import Labels, calibration_error, macro_f1, probabilities, roc_auc

TINY = np.finfo(np.float64).tiny


def score_labels(logits: Floats, target: Labels, other: int | None) -> Score:
    """Score (n, classes) logits by -log of the chance of the right class.

    Metrics: accuracy; macro_f1 (mean F1 of the classes that occur); calibration_error; and with the class `other`
    other_auc: how well the chance of the likeliest further class tells what is in scope from what is not (ROC AUC).
    """
    chances = probabilities(logits)
    # The smallest positive float stands for a chance that underflowed to 0.
    loss = -np.log(np.maximum(chances[np.arange(len(target)), target], TINY))
    predicted = chances.argmax(axis=1).astype(np.int64)
    metrics = {
        "accuracy": float((predicted == target).mean()),
        "macro_f1": macro_f1(predicted, target),
        "calibration_error": calibration_error(chances, target, np.ones(len(target))),
    }
    if other is not None:
        inside = target != other
        if inside.any() and not inside.all():
            metrics["other_auc"] = roc_auc(np.delete(chances, other, axis=1).max(axis=1), inside)
    return Score(loss, np.ones(len(target)), metrics)


def naive_output(contract: FeatureContract, count: int) -> Floats:
    """Return (count, classes) log shares of the classes in training."""
    one = np.log(np.array(contract.statistics["shares"])).astype(np.float32)
    return np.tile(one, (count, 1))
