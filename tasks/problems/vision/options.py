"""This module defines the `problem` section of a vision workload."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from serving.contract import Image
from serving.contract.images import MOST_PIXELS, Fit
from tasks.core.config import Frozen, explained

IMAGE = "image"
"""The model's input is called so."""
CLASS = "class"
"""Errors are told apart by this segment, a row's true class."""
RESERVED = ("row", "predicted", CLASS)


class Options(Frozen):
    """Options give the table's columns their meaning: each row has an `image`, a JPEG or PNG file, and a `label`.

    `classes`: the labels that there are. Models read `height` × `width` pixels of `channels`; `fit` says what is done
    with files of another size (`exact`: they are refused). A file of more than `most_pixels` is refused. A row is known
    again by `id`, or else by its place; `by`: columns of text by which errors are told apart, beside the class.

    Validation and test rows are those whose image's hash says so: the same every night, and equal images are in one
    split. With `time` they are the latest ones instead. Images of one `group` are never in two splits.

    Checks: the share of files that cannot be read is at most `max_unreadable` (they are left out), that of images which
    are there twice with different labels at most `max_conflicts`, and each class has at least `min_share` of the rows.

    `smoothing`: the share of a label that is spread over all classes in training (Szegedy et al. 2016).
    `calibrate`: logits are divided by the temperature that fits validation rows best, in the model's own graph.
    """

    classes: tuple[str, ...] = Field(min_length=2)
    height: int = Field(gt=3, le=1024)
    width: int = Field(gt=3, le=1024)
    channels: Literal[1, 3] = 3
    fit: Fit = "exact"
    most_pixels: int = Field(default=MOST_PIXELS, gt=0)
    metric: Literal["log_loss", "error_rate"] = "log_loss"
    image: str = "image"
    label: str = "label"
    id: str | None = None
    time: str | None = None
    group: str | None = None
    by: tuple[str, ...] = ()
    valid_share: float = Field(default=0.15, gt=0, lt=0.5)
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    max_unreadable: float = Field(default=0, ge=0, lt=1)
    max_conflicts: float = Field(default=0.001, ge=0, lt=1)
    min_share: float = Field(default=0.001, ge=0, lt=1)
    smoothing: float = Field(default=0, ge=0, lt=1, exclude_if=lambda share: share == 0)
    calibrate: Literal["temperature"] | None = Field(default=None, exclude_if=lambda way: way is None)

    @model_validator(mode="after")
    def _names(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name stands there twice")
        roles = {"image": self.image, "label": self.label, "id": self.id, "time": self.time, "group": self.group}
        named = [(role, name) for role, name in roles.items() if name] + [("by", name) for name in self.by]
        answers = {*RESERVED, *(f"p_{name}" for name in self.classes)}
        seen: set[str] = set()
        for role, name in named:
            if name in seen and not (role == "by" and name == self.group):
                raise ValueError(f"{role}: column {name!r} is named twice; each has one meaning")
            if name in answers or name.startswith("_"):
                raise ValueError(f"{role}: the name {name!r} is taken; rename the column in the source")
            seen.add(name)
        return self

    @property
    def field(self) -> Image:
        """Return the model's input."""
        return Image(IMAGE, self.height, self.width, self.channels, self.fit, self.most_pixels)


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return validated options. Raises ConfigError naming the option."""
    with explained("problem"):
        return Options.model_validate(dict(options))
