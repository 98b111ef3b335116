"""Errors of labelled rows, each a weighted mean over rows (rmse and rmsle: the root of one), and naive answers."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import FeatureContract, Floats, Score
from tasks.problems.blocks.classes import calibration_error, macro_f1, probabilities, roc_auc
from tasks.problems.tabular.labelled.options import Options

TINY = np.finfo(np.float64).tiny


def parts(target: NDArray[np.generic]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n,) labels and weights; target (n,) or (n, 2) with the weight second."""
    wide = target.astype(np.float64)
    return (wide[:, 0], wide[:, 1]) if wide.ndim == 2 else (wide, np.ones(len(wide)))


def score_values(output: Floats, target: NDArray[np.generic], error: str, quantiles: Sequence[float] = ()) -> Score:
    """Score (n, 1 + quantiles) values, each followed by its quantiles of these levels.

    The error is that of the value. Metrics beside it: rmse, mae, r2 (1 - squared error over that of the mean), bias
    (mean gap); of quantiles `coverage` and `pinball`, see `of_quantiles`.
    """
    label, weight = parts(target)
    value = output[:, 0].astype(np.float64)
    gap = value - label
    total = weight.sum()
    squares = float((weight * gap**2).sum())
    mean = float((weight * label).sum() / total)
    variance = float((weight * (label - mean) ** 2).sum())
    metrics = {
        "rmse": float(np.sqrt(squares / total)),
        "mae": float((weight * np.abs(gap)).sum() / total),
        "bias": float((weight * gap).sum() / total),
    }
    if variance > 0:
        metrics["r2"] = 1 - squares / variance
    metrics.pop(error, None)
    if quantiles:
        metrics |= of_quantiles(output[:, 1:], label, weight, quantiles)
    if error == "mae":
        return Score(weight * np.abs(gap), weight, metrics)
    if error == "rmsle":
        gap = np.log1p(np.maximum(value, 0)) - np.log1p(label)
    return Score(weight * gap**2, weight, metrics, exponent=0.5)


def of_quantiles(
    output: Floats, label: NDArray[np.float64], weight: NDArray[np.float64], levels: Sequence[float]
) -> Mapping[str, float]:
    """Return what is told of quantiles (n, levels), rows counted by their weight.

    coverage: share of the labels within the outermost two, so that a band which is crossed covers none. pinball: mean
    over levels and rows of max(q (y - f), (q - 1)(y - f)), over mean |y|; none where all labels are 0 (Koenker &
    Bassett 1978).
    """
    gap = label[:, None] - output.astype(np.float64)
    loss = np.maximum(np.array(levels) * gap, (np.array(levels) - 1) * gap).mean(axis=1)
    inside = (gap[:, 0] >= 0) & (gap[:, -1] <= 0)
    share = weight / weight.sum()
    size = float((share * np.abs(label)).sum())
    found = {"coverage": float((share * inside).sum())}
    return found | ({"pinball": float((share * loss).sum()) / size} if size > 0 else {})


def score_classes(logits: Floats, target: NDArray[np.generic], error: str) -> Score:
    """Score (n, classes) logits.

    Metrics beside the error: log_loss, brier (the sum over classes of (p - [true])^2), accuracy, macro_f1,
    calibration_error and, of two classes, auc.
    """
    label, weight = parts(target)
    number = label.astype(np.int64)
    chances = probabilities(logits)
    rows, total = np.arange(len(number)), weight.sum()
    # The smallest positive float stands for a chance that underflowed to 0.
    surprise = -np.log(np.maximum(chances[rows, number], TINY))
    squares = ((chances - np.eye(chances.shape[1])[number]) ** 2).sum(axis=1)
    predicted = chances.argmax(axis=1).astype(np.int64)
    metrics = {
        "log_loss": float((weight * surprise).sum() / total),
        "brier": float((weight * squares).sum() / total),
        "accuracy": float((weight * (predicted == number)).sum() / total),
        "macro_f1": macro_f1(predicted, number),
        "calibration_error": calibration_error(chances, number, weight),
    }
    if chances.shape[1] == 2 and len(np.unique(number)) == 2:
        metrics["auc"] = roc_auc(chances[:, 1], number == 1)
    del metrics[error]
    return Score(weight * (squares if error == "brier" else surprise), weight, metrics)


def by_last(constant: Floats, last: Floats, followed: Floats | None) -> Floats:
    """Return the answers of rows (n, outputs) by the last label of their group, (n,); the constant where that is NaN.

    Of values the last one itself, plus `followed` (1 + quantiles,), 0 and how far what followed was from it, if there
    is that; of classes a line of `followed` (classes, classes), log shares of what followed it.
    """
    known = np.isfinite(last)
    if followed is None or followed.ndim == 1:
        answers = last[known, None] + (0 if followed is None else followed)
    else:
        answers = followed[last[known].astype(np.int64)]
    found = constant.copy()
    found[known] = answers
    return found


def changes(gap: NDArray[np.float64], weight: NDArray[np.float64], levels: Sequence[float]) -> Floats:
    """Return (1 + levels,) 0 and the quantiles of the gaps (n,); 0 in all where there is none."""
    found = np.zeros(1 + len(levels), np.float32)
    if len(gap):
        found[1:] = np.quantile(gap, levels, weights=weight, method="inverted_cdf")
    return found


def naive_output(contract: FeatureContract, options: Options, count: int) -> Floats:
    """Return (count, outputs) the best answer without any input.

    log shares of the classes in training; of values the mean (rmse), the median (mae), the mean of logs (rmsle), and
    their quantiles.
    """
    statistics = contract.statistics
    if options.labels:
        one = np.log(np.array(statistics["shares"]))
    else:
        one = np.array([statistics["centre"], *statistics.get("quantiles", ())], dtype=np.float64)
        one = np.expm1(one) if options.error == "rmsle" else one
    return np.tile(one.astype(np.float32), (count, 1))
