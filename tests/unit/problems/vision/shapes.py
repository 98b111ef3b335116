"""Made-up images: a bar that lies, stands or leans, drawn in grey at a place of its own, with noise."""

from datetime import date
from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
from numpy.typing import NDArray

from tasks.core.config import Spec
from tasks.problems import get_problem
from tasks.problems.vision.dataset import LabelledImages
from tasks.problems.vision.problem import Vision

AS_OF = date(2026, 6, 28)
SIZE, COUNT = 8, 160
CLASSES = ("lying", "standing", "leaning")
OPTIONS: dict[str, Any] = {
    "kind": "vision",
    "classes": CLASSES,
    "height": SIZE,
    "width": SIZE,
    "channels": 1,
    "id": "id",
    "by": ["pen"],
}


def drawn(label: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(SIZE, SIZE) grey."""
    image = rng.normal(30, 12, (SIZE, SIZE))
    at, steps = int(rng.integers(1, SIZE - 1)), np.arange(SIZE)
    if label == "lying":
        image[at] += 170
    elif label == "standing":
        image[:, at] += 170
    else:
        image[steps, (steps + at) % SIZE] += 170
    return image.clip(0, 255).astype(np.uint8)


def png(image: NDArray[Any], form: str = "PNG", **options: Any) -> bytes:
    content = BytesIO()
    PIL.Image.fromarray(image).save(content, form, **options)
    return content.getvalue()


def labels(count: int = COUNT, seed: int = 4) -> pl.DataFrame:
    """Rows with an id, a label, the file and a segment."""
    rng = np.random.default_rng(seed)
    names = [CLASSES[number % len(CLASSES)] for number in range(count)]
    return pl.DataFrame(
        {
            "id": [f"i{number:04d}" for number in range(count)],
            "label": names,
            "image": [png(drawn(name, rng)) for name in names],
            "pen": [("thin", "thick")[number % 2] for number in range(count)],
        }
    )


def problem(**changes: Any) -> Vision:
    built = get_problem(Spec(**{**OPTIONS, **changes}))
    assert isinstance(built, Vision)
    return built


def dataset(table: pl.DataFrame | None = None, **changes: Any) -> LabelledImages:
    rows = labels() if table is None else table
    built = problem(**changes).features({"labels": rows.lazy()}, AS_OF)
    assert isinstance(built, LabelledImages)
    return built
