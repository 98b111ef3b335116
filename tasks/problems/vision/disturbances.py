"""The robustness gate applies these disturbances of images."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from tasks.core.errors import ConfigError
from tasks.problems.base import Inputs
from tasks.problems.vision.options import IMAGE

KINDS = ("noise", "blur", "brightness", "jpeg", "shift")

Images = NDArray[np.uint8]


def disturb(kind: str, level: float, inputs: Inputs, seed: int) -> Inputs:
    """Return disturbed copies of images (n, height, width, channels). Raises ConfigError on an unknown kind.

    noise: each value plus N(0, level) times 255. blur: a Gaussian of `level` pixels' deviation. brightness: all values
    times 1 + level. jpeg: written as JPEG of quality 100 (1 - level), and read again. shift: each image by `level`
    pixels (rounded) up, down, left or right, its edge repeated.
    """
    images, rng = inputs[IMAGE], np.random.default_rng(seed)
    if kind == "noise":
        found = _bytes(images + rng.normal(0, 255 * level, images.shape))
    elif kind == "blur":
        found = _blurred(images, level)
    elif kind == "brightness":
        found = _bytes(images * (1 + level))
    elif kind == "jpeg":
        found = np.stack([_as_jpeg(image, max(1, round(100 * (1 - level)))) for image in images])
    elif kind == "shift":
        ways = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[rng.integers(4, size=len(images))]
        found = moved(images, ways * round(level))
    else:
        raise ConfigError(f"gates.robustness.kind: unknown kind {kind!r}; there are: {', '.join(KINDS)}")
    return {**inputs, IMAGE: found}


def moved(images: Images, by: NDArray[np.int64]) -> Images:
    """Return each image moved by (rows, columns) of `by` (n, 2), its edge repeated."""
    _, height, width, _ = images.shape
    rows = (np.arange(height) - by[:, :1]).clip(0, height - 1)
    columns = (np.arange(width) - by[:, 1:]).clip(0, width - 1)
    found: Images = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found


def _bytes(values: NDArray[np.floating]) -> Images:
    return values.round().clip(0, 255).astype(np.uint8)


def _blurred(images: Images, deviation: float) -> Images:
    reach = max(1, round(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-6)) ** 2)
    kernel /= kernel.sum()
    found = images.astype(np.float32)
    for axis in (1, 2):
        padding = [(reach, reach) if place == axis else (0, 0) for place in range(4)]
        padded = np.pad(found, padding, mode="edge")
        length = found.shape[axis]
        found = np.sum(
            [share * padded.take(range(at, at + length), axis) for at, share in enumerate(kernel)],
            axis=0,
            dtype=np.float32,
        )
    return _bytes(found)


def _as_jpeg(image: Images, quality: int) -> Images:
    import PIL.Image

    content = BytesIO()
    PIL.Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(content, "JPEG", quality=quality)
    with PIL.Image.open(content) as opened:
        return np.asarray(opened, np.uint8).reshape(image.shape)
