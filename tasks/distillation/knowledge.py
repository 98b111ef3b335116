"""The teachers of a run leave this knowledge for their students."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.compression.runtime import OnnxModel
from tasks.distillation.ensemble import SOFT, member_weights
from tasks.problems.base import Batches, Dataset, Floats, Inputs, Problem, rows_within
from tasks.problems.blocks.features import Shown

log = logging.getLogger(__name__)

WEIGHTS, MODEL = "fold-0.safetensors", "teacher.onnx"
SHOWN: Mapping[Shown, str] = {"features": "features.npy", "attention": "attention.npy", "maps": "maps.npy"}
CONTRACT, LEARNED = "contract.json", "learned.parquet"
"""A kept teacher has these beside its file: how it reads its inputs, and the rows that it learned from."""
PROFILE = "profile.json"
"""One that is kept until the data move has this, too: how they were then, as the drift gate sees them."""


@dataclass(frozen=True)
class Knowledge:
    """Knowledge is held by teacher's name; arrays lie on disk until they are read.

    `soft`: targets (all rows, *output_shape). Of the teachers that keep them: `shown`, features, attention or maps (all
    rows, width), and `weights`, the file with those of the first fold's model. `weighed`: how the ensemble weighs
    its members. `models`: the teachers' own files.
    """

    soft: Mapping[str, Floats]
    shown: Mapping[Shown, Mapping[str, NDArray[np.float16]]]
    weights: Mapping[str, Path]
    weighed: Literal["mean", "validation"] = "mean"
    models: Mapping[str, Path] = field(default_factory=dict)

    def ensemble(self, problem: Problem, dataset: Dataset) -> Floats:
        """Return (all rows, *output_shape) soft targets of the weighed ensemble."""
        weights = member_weights(problem, dataset, self.soft, self.weighed)
        if weights is not None:
            log.info("teachers: %s", ", ".join(f"{name} {w:.3f}" for name, w in zip(self.soft, weights, strict=True)))
        found = np.empty((len(dataset.groups), *dataset.contract.output_shape), np.float32)
        size = rows_within(found.nbytes // max(1, len(found)))
        for start in range(0, len(found), size):
            part = slice(start, start + size)
            found[part] = problem.ensemble((values[part] for values in self.soft.values()), weights)
        return found

    def label(self, problem: Problem, dataset: Dataset, inputs: Inputs) -> Floats:
        """Return the weighed ensemble's outputs for inputs that are none of the dataset's rows."""
        weights = member_weights(problem, dataset, self.soft, self.weighed)
        batches, most = Batches.of(inputs), dataset.contract.most_rows
        outputs = [OnnxModel(self.models[name].read_bytes(), batch=most).run(batches) for name in self.soft]
        return problem.ensemble(outputs, weights)


def load_knowledge(folder: Path, weighed: Literal["mean", "validation"]) -> Knowledge:
    """Load the knowledge of the teachers that have a folder in `folder`, in the order of their names."""
    teachers = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}

    def arrays(file: str) -> dict[str, NDArray[Any]]:
        return {name: np.load(path / file, mmap_mode="r") for name, path in teachers.items() if (path / file).is_file()}

    weights = {name: path / WEIGHTS for name, path in teachers.items() if (path / WEIGHTS).is_file()}
    models = {name: path / MODEL for name, path in teachers.items()}
    return Knowledge(arrays(SOFT), {of: arrays(file) for of, file in SHOWN.items()}, weights, weighed, models)
