"""Pictures of images for the report: what is taken for what, the worst mistakes themselves, calibration."""

from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.problems.base import Example, Floats, Rows
from tasks.problems.blocks.classes import probabilities
from tasks.problems.vision.dataset import LabelledImages
from tasks.problems.vision.options import IMAGE

WORST = 12
BINS = 5
SHOWN_PIXELS = 64


def of_images(dataset: LabelledImages, rows: Rows, outputs: Mapping[str, Floats]) -> list[Example]:
    """Return the pictures, the first two of the first model's outputs (rows, classes)."""
    label, classes = dataset.target(rows), dataset.options.classes
    chances = {name: probabilities(output) for name, output in outputs.items()}
    name, first = next(iter(chances.items()))
    return [
        _confusion(label, first, classes, name),
        _mistakes(dataset, rows, label, first, name),
        _calibration(label, chances),
    ]


def _confusion(label: NDArray[np.int64], chances: NDArray[np.float64], classes: tuple[str, ...], name: str) -> Example:
    """Return counts: lines are true classes, columns what was said."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (label, chances.argmax(axis=1)), 1)
    cells = tuple(tuple(float(count) for count in line) for line in counts)
    return Example(f"{name}: true class (lines) against what was said (columns)", classes, (), (), {}, cells=cells)


def _mistakes(
    dataset: LabelledImages, rows: Rows, label: NDArray[np.int64], chances: NDArray[np.float64], name: str
) -> Example:
    """Return the images whose true class had the least chance, where another one was said."""
    true, said = chances[np.arange(len(label)), label], chances.argmax(axis=1)
    wrong = np.flatnonzero(said != label)
    worst = wrong[np.argsort(true[wrong], kind="stable")][:WORST]
    classes = dataset.options.classes
    texts = tuple(f"{classes[label[at]]} taken for {classes[said[at]]} ({chances[at, said[at]]:.0%})" for at in worst)
    images = dataset.inputs(rows[worst])[IMAGE]
    return Example(f"{name}: worst mistakes", texts, (), (), {}, images=tuple(_shown(image) for image in images))


def _shown(image: NDArray[np.uint8]) -> str:
    """Return an image as a data address of a PNG file, small ones as they are and large ones made smaller."""
    import PIL.Image

    made = PIL.Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    made.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
    content = BytesIO()
    made.save(content, "PNG")
    return f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"


def _calibration(label: NDArray[np.int64], chances: Mapping[str, NDArray[np.float64]]) -> Example:
    """Return how often each model was right, by the chance that it gave to what it said; actual: that chance itself."""
    edges = np.linspace(0, 1, BINS + 1)
    names = tuple(f"{low:.0%}–{high:.0%}" for low, high in pairwise(edges))

    def right(values: NDArray[np.float64]) -> tuple[float, ...]:
        place = np.minimum((values.max(axis=1) * BINS).astype(np.int64), BINS - 1)
        hits = np.bincount(place, values.argmax(axis=1) == label, BINS)
        count = np.bincount(place, minlength=BINS)
        return tuple(round(float(hit / number), 4) if number else 0.0 for hit, number in zip(hits, count, strict=True))

    middles = tuple(round(float(low + high) / 2, 4) for low, high in pairwise(edges))
    return Example(
        "share that is right, by the chance of what was said",
        names,
        (),
        middles,
        {name: right(values) for name, values in chances.items() if name != "naive"},
    )
