"""Pictures of labelled rows for the report: predicted against actual, residuals, calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Example, Floats
from tasks.problems.blocks.classes import probabilities

TENTHS = 10
RESIDUALS = (0.05, 0.25, 0.5, 0.75, 0.95)


def of_values(label: NDArray[np.float64], outputs: Mapping[str, Floats]) -> list[Example]:
    """Return means of predicted and actual values by tenths of the first model's predictions, and its residuals."""
    tenth = _tenths(next(iter(outputs.values()))[:, 0].astype(np.float64))
    names = tuple(f"{place + 1}" for place in range(tenth.max() + 1))
    by_tenth = Example(
        title="means by tenths of the prediction",
        dates=names,
        past=(),
        actual=_means(label, tenth),
        curves={name: _means(output[:, 0], tenth) for name, output in outputs.items()},
    )
    levels = [f"{level:.0%}" for level in RESIDUALS]
    residuals = Example(
        title="residuals (predicted less actual) at these shares of the rows",
        dates=tuple(levels),
        past=(),
        actual=(),
        curves={
            name: tuple(round(float(value), 6) for value in np.quantile(output[:, 0] - label, RESIDUALS))
            for name, output in outputs.items()
            if name != "naive"
        },
    )
    return [by_tenth, residuals]


def of_quantiles(label: NDArray[np.float64], outputs: Mapping[str, Floats], levels: Sequence[float]) -> Example:
    """Return the share of the labels that is not above each quantile, beside the share that should be: its level."""
    return Example(
        title="share of the rows that are not above a quantile, which should be its level",
        dates=tuple(f"p{level * 100:g}" for level in levels),
        past=(),
        actual=tuple(levels),
        curves={name: _rounded((label[:, None] <= output[:, 1:]).mean(axis=0)) for name, output in outputs.items()},
    )


def of_classes(label: NDArray[np.float64], outputs: Mapping[str, Floats], names: Sequence[str]) -> list[Example]:
    """Return shares of classes over all rows, then for each class its share by tenths of the first model's chance."""
    truth = np.eye(len(names))[label.astype(np.int64)]
    chances = {name: probabilities(output) for name, output in outputs.items()}
    first = next(iter(chances.values()))
    whole = Example(
        title=f"all {len(label)} rows",
        dates=tuple(names),
        past=(),
        actual=_rounded(truth.mean(axis=0)),
        curves={name: _rounded(values.mean(axis=0)) for name, values in chances.items()},
    )
    found = [whole]
    for place in range(1 if len(names) == 2 else 0, len(names)):
        tenth = _tenths(first[:, place])
        found.append(
            Example(
                title=f"share of {names[place]} by tenths of its chance",
                dates=tuple(f"{number + 1}" for number in range(tenth.max() + 1)),
                past=(),
                actual=_means(truth[:, place], tenth),
                curves={name: _means(values[:, place], tenth) for name, values in chances.items()},
            )
        )
    return found


def _tenths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the tenth of each value, from 0; fewer where many values are equal or few."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, TENTHS + 1)[1:-1]))
    _, place = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
    return place.astype(np.int64)


def _means(values: NDArray[np.floating], tenth: NDArray[np.int64]) -> tuple[float, ...]:
    return _rounded(np.bincount(tenth, values) / np.bincount(tenth))


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
