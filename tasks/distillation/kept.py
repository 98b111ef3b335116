"""A teacher that is kept for many nights labels rows that it has not seen, and rows that it learned from, apart.

A training row of tonight that it learned from, inputs alike, is labelled by the fold model that was trained without it;
all other rows by the mean of the fold models.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.compression.runtime import OnnxModel
from tasks.core.errors import ConfigError, DataError
from tasks.distillation.options import Student, Teacher
from tasks.distillation.parts import parts_of
from tasks.distillation.teacher import assign_folds
from tasks.problems.base import Dataset, FeatureContract, Floats, Problem, Raw, Rows

MEAN = -1
"""The number of a row's fold where the mean of all fold models labels it."""


def check_kept(
    problem: Problem, teachers: Mapping[str, Teacher], students: Mapping[str, Student], *, refit: bool
) -> None:
    """Raise ConfigError naming what does not go with a kept teacher."""
    for name, teacher in teachers.items():
        if teacher.every is None:
            continue
        field = f"teachers.{name}.every"
        if teacher.keep:
            raise ConfigError(f"{field}: another day's features and weights do not fit tonight's rows; leave keep out")
        if teacher.world > 1:
            raise ConfigError(
                f"{field}: it is trained by one process; set resources.teach@{name}: {{processes: 1, nodes: 1}}"
            )
        if refit:
            raise ConfigError(f"{field}: the last fit trains teachers with the newest rows; leave one of both out")
        for student, section in students.items():
            if section.distilled and parts_of(problem, section).synthesis is not None:
                raise ConfigError(f"{field}: it labels none of the rows of students.{student}.augment; leave one out")


def row_digests(dataset: Dataset, rows: Rows) -> list[str]:
    """Return a digest of the inputs of each row."""
    names, found = tuple(dataset.contract.inputs), list[str]()
    for part in dataset.parts(rows, names):
        inputs = [np.ascontiguousarray(values) for values in dataset.inputs(part, names).values()]
        joined = (b"".join(each[place].tobytes() for each in inputs) for place in range(len(part)))
        found.extend(hashlib.blake2b(row, digest_size=16).hexdigest() for row in joined)
    return found


def learned_rows(dataset: Dataset, folds: int, seed: int) -> pl.DataFrame:
    """Return the `digest` of each row that `teach` learns from on this dataset, and the `fold` that holds it out.

    Equal rows of several folds are held out by none: MEAN.
    """
    rows = dataset.splits["train"]
    fold = assign_folds(dataset.groups, folds, seed)[rows]
    least, most = pl.col("fold").min(), pl.col("fold").max()
    table = pl.DataFrame({"digest": row_digests(dataset, rows), "fold": fold})
    return table.group_by("digest").agg(pl.when(least == most).then(least).otherwise(MEAN).alias("fold")).sort("digest")


@dataclass(frozen=True)
class KeptTeacher:
    """A KeptTeacher has the ONNX bytes of its `mean` and `folds`, its contract, and the rows that it `learned` from."""

    mean: bytes
    folds: Sequence[bytes]
    contract: FeatureContract
    learned: pl.DataFrame

    def label(self, dataset: Dataset, raw: Raw) -> tuple[Floats, int]:
        """Return (all rows, *output_shape) soft targets of tonight's dataset, and how many rows it had learned from.

        Test rows are NaN, as from any teacher. Raises DataError when tonight's rows cannot be made as it reads them, or
        when it learned from tonight's test rows, which would then judge what it taught.
        """
        try:
            theirs, answers = dataset.under(self.contract, raw), dataset.taught_by(self.contract)
        except ValueError as error:
            raise DataError(f"a kept teacher cannot label tonight's rows: {error}; change its `every`") from error
        self._require_unseen(dataset, theirs)
        rows = np.concatenate([dataset.splits["train"], dataset.splits["valid"]])
        tonight = pl.DataFrame({"digest": row_digests(theirs, rows)})
        fold = tonight.join(self.learned, on="digest", how="left", maintain_order="left")["fold"]
        held_out = fold.fill_null(MEAN).to_numpy()
        soft = np.full((len(dataset.groups), *dataset.contract.output_shape), np.nan, dtype=np.float32)
        for number, model in [*enumerate(self.folds), (MEAN, self.mean)]:
            some = rows[held_out == number]
            if len(some):
                runtime = OnnxModel(model, batch=self.contract.most_rows)
                soft[some] = answers(runtime.run(theirs.batches(some, runtime.names)))
        return soft, int(len(fold) - fold.null_count())

    def _require_unseen(self, dataset: Dataset, theirs: Dataset) -> None:
        """Test rows that equal one of tonight's training rows pass: tonight's own teachers learn from these too."""
        train, test = (set(row_digests(theirs, dataset.splits[split])) for split in ("train", "test"))
        if seen := len((test - train).intersection(self.learned["digest"])):
            raise DataError(
                f"a kept teacher has learned from {seen} of tonight's test rows, which older data or other groups have "
                "moved there; shorten or leave out its `every`, or train it anew with --force"
            )
