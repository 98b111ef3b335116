"""Training images are changed by chance, so that what does not matter is not learned by heart."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.problems.base import Augment, FeatureContract, Labelled
from tasks.problems.vision.disturbances import moved
from tasks.problems.vision.options import IMAGE


class Move(Augment):
    """Move shifts each image by up to `shift` pixels both ways, its edge repeated, and turns left to right if `flip`.

    `alternating`: every second epoch, half the images in the even ones and half in the odd, so that two epochs show
    both sides of each (Jordan 2024, arXiv:2404.00498, section 3.6); `true`: by chance. The label stays, and of a
    teacher what it says of the image as it was.
    """

    keeps_label: ClassVar[bool] = True

    shift: int = Field(default=2, ge=0)
    flip: bool | Literal["alternating"] = False

    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        images = batch.inputs[IMAGE]
        if self.flip:
            turned = self._alternating(batch) if self.flip == "alternating" else rng.random(len(images)) < 0.5
            images = np.where(turned[:, None, None, None], images[:, :, ::-1], images)
        if self.shift:
            images = moved(images, rng.integers(-self.shift, self.shift + 1, (len(images), 2)))
        return replace(batch, inputs={**batch.inputs, IMAGE: images})

    def _alternating(self, batch: Labelled) -> NDArray[np.bool_]:
        """Return which images are turned: of an even sum of bytes in even epochs, the others in odd ones."""
        sums = batch.inputs[IMAGE].sum(axis=(1, 2, 3), dtype=np.int64)
        turned: NDArray[np.bool_] = (sums + batch.epoch) % 2 == 0
        return turned


class Cutout(Move):
    """Cutout does what `move` does, and blackens a square of `size` pixels (DeVries & Taylor 2017, arXiv:1708.04552).

    A square may stand over the edge.
    """

    size: int = Field(default=8, gt=0)

    def apply(self, batch: Labelled, contract: FeatureContract, rng: np.random.Generator) -> Labelled:
        batch = super().apply(batch, contract, rng)
        images = batch.inputs[IMAGE].copy()
        count, height, width, _ = images.shape
        top, left = rng.integers(height, size=(count, 1)), rng.integers(width, size=(count, 1))
        half = self.size // 2
        rows = np.abs(np.arange(height) - top) <= half
        columns = np.abs(np.arange(width) - left) <= half
        images[rows[:, :, None] & columns[:, None, :]] = 0
        return replace(batch, inputs={**batch.inputs, IMAGE: images})


AUGMENT: dict[str, type[Augment]] = {"move": Move, "cutout": Cutout}
