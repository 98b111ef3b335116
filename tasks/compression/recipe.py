"""This module runs one recipe from start to end: torch steps, export, graph steps, and the cost and saving of each."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from torch import nn

from tasks.compression.chain import Chain
from tasks.compression.correction import corrected
from tasks.compression.export import export_onnx
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.parity import Names, Parity, parity
from tasks.compression.runtime import OnnxModel
from tasks.compression.step import AfterStep, Calibration, FineTune, also
from tasks.compression.timing import Latency, machine, measure_all
from tasks.problems.base import Batches, Correction, Dataset, FeatureContract, Floats, Inputs
from tasks.problems.blocks.outputs import outputs

CORRECTION = "correction"
"""Under this name a candidate's facts have the numbers of its correction."""
EXAMPLE_ROWS = 4
ROUNDS = 20


@dataclass(frozen=True)
class Stock:
    """A Stock is the state of a recipe after a step: error on the validation split, bytes of the ONNX file."""

    step: str
    error: float
    bytes: int


@dataclass(frozen=True)
class Compressed:
    """Compressed is the result of a recipe.

    `parameters`, `nonzero`: of the torch model that was exported. `history`: the untouched student first.

    `timings`: latency of the bytes of each entry of `history`, empty if it was not measured. `tuned`: of each
    fine-tuning, after how many epochs the kept weights were; 0: it was undone. `correction`: the end of the graph.
    """

    model: bytes
    parameters: int
    nonzero: int
    parity: Parity
    history: tuple[Stock, ...]
    timings: tuple[Latency, ...] = ()
    tuned: tuple[int, ...] = ()
    correction: Correction | None = None

    @property
    def error(self) -> float:
        """Return the error that candidates are chosen by: before the correction, which is fitted on the same rows."""
        return self.history[-2 if self.correction else -1].error

    def about(self) -> dict[str, Any]:
        """Return the measured part of about.json without times, which vary by run; `sha256` ties it to these bytes."""
        return {
            "parameters": self.parameters,
            "nonzero": self.nonzero,
            "bytes": len(self.model),
            "sha256": hashlib.sha256(self.model).hexdigest(),
            "valid_error": self.error,
            "parity": self.parity.to_json(),
            "history": [vars(item) for item in self.history],
            **({"tuned": list(self.tuned)} if self.tuned else {}),
            **({CORRECTION: self.correction.model_dump(mode="json")} if self.correction else {}),
        }

    def latency(self) -> dict[str, Any]:
        """Return figures for people: how each step changed the time of a call. They must not enter a lock."""
        steps = [
            {"step": stock.step, **found.to_json()}
            for stock, found in zip(self.history, self.timings, strict=bool(self.timings))
        ]
        return {"machine": machine(), "steps": steps}


def sampled(dataset: Dataset, names: Collection[str]) -> Calibration:
    """Return a sampler: the inputs `names` of n training rows, spread evenly."""
    rows = dataset.splits["train"]

    def sample(count: int) -> Inputs:
        places = np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))
        return dataset.inputs(rows[places], names)

    return sample


def compress(  # noqa: PLR0913 named arguments
    model: nn.Module,
    chain: Chain,
    contract: FeatureContract,
    valid: Batches,
    error: Callable[[Floats], float],
    calibration: Calibration,
    tune: FineTune,
    *,
    correction: Callable[[Floats], Correction | None] = lambda _output: None,
    threads: int = 1,
    rounds: int = ROUNDS,
    names: Names = lambda _: None,
) -> Compressed:
    """Apply a chain to `model`, which is changed in place.

    `valid`: the inputs of the validation split that the model reads; `error`: the primary error of outputs on it;
    `calibration(n)`: the inputs of n training rows; `correction`: made from outputs on `valid`, at the end. Every error
    is measured on the exported bytes. Parity compares the final bytes with the torch model as it was exported, so a
    change of number format counts as a difference. Latency is measured at one row, all steps' bytes in turn, in so many
    `rounds` (0: not at all). `names`: what outputs on `valid` name.
    """
    first = next(iter(valid))
    example = {name: values[:EXAMPLE_ROWS] for name, values in first.items()}
    history: list[Stock] = []
    files: list[bytes] = []

    def record(step: str, data: bytes) -> Floats:
        output = OnnxModel(data, threads, contract.most_rows).run(valid)
        history.append(Stock(step, error(output), len(data)))
        files.append(data)
        return output

    tuned: list[int] = []

    def kept(model: nn.Module, epochs: int, learning_rate_factor: float, after_step: AfterStep | None = None) -> int:
        tuned.append(tune(model, epochs, learning_rate_factor, after_step))
        return tuned[-1]

    further: FineTune = kept
    output = record("student", export_onnx(model, contract, example))
    for step in chain.before_export:
        restore = step.apply(model, further, calibration)
        further = also(further, restore) if restore else further
        output = record(step.kind, export_onnx(model, contract, example))
    for change in chain.after_export:
        output = record(change.kind, to_bytes(change.apply(onnx.load_model_from_string(files[-1]), calibration)))
    reference = outputs(model, valid)
    if end := correction(output):
        output, reference = record("correction", corrected(files[-1], end)), end.apply(reference)
    weights = list(model.parameters())
    return Compressed(
        model=files[-1],
        parameters=sum(weight.numel() for weight in weights),
        nonzero=sum(int(weight.count_nonzero()) for weight in weights),
        parity=parity(output, reference, names),
        history=tuple(history),
        timings=measure_all(files, first, batch=1, threads=threads, rounds=rounds) if rounds else (),
        tuned=tuple(tuned),
        correction=end,
    )
