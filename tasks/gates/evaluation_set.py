"""The evaluation set holds the frozen rows on which every model of a run is measured, through ONNX Runtime."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.compression.runtime import OnnxModel
from tasks.problems.base import (
    Batches,
    Clusters,
    Dataset,
    FeatureContract,
    Floats,
    Inputs,
    Problem,
    Raw,
    Rows,
    Score,
    Split,
)

SAMPLE = 1024


@dataclass(frozen=True)
class EvaluationSet:
    """An EvaluationSet is one split of a dataset with all data that the gates need. `threads`: of ONNX Runtime.

    `raw`: the table that the dataset was made of, for a champion whose inputs are made in another way.
    """

    problem: Problem
    dataset: Dataset
    split: Split = "test"
    threads: int = 1
    raw: Raw | None = None

    @property
    def rows(self) -> Rows:
        """Return row numbers of the split."""
        return self.dataset.splits[self.split]

    @cached_property
    def sample(self) -> Inputs:
        """Return model inputs of the first rows, to measure latency with."""
        return self.dataset.inputs(self.rows[:SAMPLE])

    @cached_property
    def target(self) -> NDArray[Any]:
        """Return targets of all rows."""
        return self.dataset.target(self.rows)

    @cached_property
    def clusters(self) -> Clusters:
        """Return the entity and blocks of time of each row."""
        return self.dataset.clusters(self.rows)

    @property
    def segments(self) -> Mapping[str, NDArray[np.str_]]:
        """Return the segment columns of the rows."""
        return {name: values[self.rows] for name, values in self.dataset.segments.items()}

    def under(self, contract: FeatureContract) -> "EvaluationSet":
        """Return the same rows with inputs under another contract. Raises ValueError when they cannot be made."""
        return replace(self, dataset=self.dataset.under(contract, self.raw))

    def naive(self) -> Floats:
        """Return outputs of the problem's baseline."""
        return self.problem.naive(self.dataset, self.rows)

    def baselines(self) -> Mapping[str, Score]:
        """Return the scores of further baselines, for people."""
        found = self.problem.baselines(self.dataset, self.rows)
        return {name: self.score(output) for name, output in found.items()}

    def disturbed(self, kind: str, level: float, seed: int) -> Batches:
        """Return the inputs under a disturbance, the same for every model. Raises ConfigError on an unknown kind."""
        self.problem.disturbed(self.dataset, self.rows[:1], kind, level, seed)

        def make() -> Iterator[Inputs]:
            for number, rows in enumerate(self.dataset.parts(self.rows)):
                yield self.problem.disturbed(self.dataset, rows, kind, level, _seed(seed, number))

        return Batches(len(self.rows), make)

    def run(self, model: bytes, batches: Batches | None = None) -> Floats:
        """Return a model's outputs, by default for all rows. Raises ValueError unless finite and of the right shape."""
        runtime = OnnxModel(model, self.threads, self.dataset.contract.most_rows)
        output = runtime.run(self.dataset.batches(self.rows, runtime.names) if batches is None else batches)
        expected = (len(self.rows), *self.dataset.contract.output_shape)
        if output.shape != expected:
            raise ValueError(f"output has shape {output.shape}, the contract says {expected}")
        if not np.isfinite(output).all():
            raise ValueError(
                f"{np.count_nonzero(~np.isfinite(output))} of {output.size} output numbers are NaN or infinite"
            )
        return output

    def score(self, output: Floats) -> Score:
        """Return the errors of outputs of all rows, with all metrics."""
        score = self.problem.score(output, self.target)
        return replace(score, metrics={**score.metrics, **self.problem.beside(self.dataset, self.rows, output)})


def _seed(seed: int, batch: int) -> int:
    """Return a seed of each batch's own: batches are disturbed independently of each other."""
    return seed if batch == 0 else int(np.random.SeedSequence([seed, batch]).generate_state(1)[0])
