"""One recipe from start to end: torch steps, export, graph steps, and what each of them cost and saved."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import nn

from tasks.compression.chain import Chain
from tasks.compression.export import export_onnx
from tasks.compression.onnx_graph import to_bytes
from tasks.compression.parity import Parity, parity
from tasks.compression.runtime import run_onnx
from tasks.compression.step import FineTune
from tasks.models import inputs_of
from tasks.problems.base import FeatureContract, Floats, Inputs

EXAMPLE_ROWS = 4


@dataclass(frozen=True)
class Stock:
    """Where a recipe stands after a step: error on the validation split, bytes of the ONNX file."""

    step: str
    error: float
    bytes: int


@dataclass(frozen=True)
class Compressed:
    """`parameters`, `nonzero`: of the torch model that was exported. `history`: the untouched student first."""

    model: bytes
    parameters: int
    nonzero: int
    parity: Parity
    history: tuple[Stock, ...]

    def about(self) -> dict[str, Any]:
        """The measured part of about.json; `sha256` ties it to these bytes."""
        return {
            "parameters": self.parameters,
            "nonzero": self.nonzero,
            "bytes": len(self.model),
            "sha256": hashlib.sha256(self.model).hexdigest(),
            "valid_error": self.history[-1].error,
            "parity": self.parity.to_json(),
            "history": [vars(item) for item in self.history],
        }


def compress(
    model: nn.Module,
    chain: Chain,
    contract: FeatureContract,
    valid: Inputs,
    error: Callable[[Floats], float],
    calibration: Callable[[int], Inputs],
    tune: FineTune,
    threads: int = 1,
) -> Compressed:
    """Apply a chain to `model`, which is changed in place.

    `valid`: inputs of the validation split; `error`: the primary error of outputs on it; `calibration(n)`: inputs of
    n training rows. Every error is measured on the exported bytes through ONNX Runtime. Parity compares the final
    bytes with the torch model as it was exported, so a change of number format counts as a difference.
    """
    example = {name: values[:EXAMPLE_ROWS] for name, values in valid.items()}
    history: list[Stock] = []

    def record(step: str, data: bytes) -> Floats:
        output = run_onnx(data, valid, threads=threads)
        history.append(Stock(step, error(output), len(data)))
        return output

    data = export_onnx(model, contract, example)
    output = record("student", data)
    for step in chain.before_export:
        step.apply(model, tune)
        data = export_onnx(model, contract, example)
        output = record(step.kind, data)
    for change in chain.after_export:
        graph = change.apply(onnx.load_model_from_string(data), calibration)
        data = to_bytes(graph)
        output = record(change.kind, data)
    weights = list(model.parameters())
    return Compressed(
        model=data,
        parameters=sum(weight.numel() for weight in weights),
        nonzero=sum(int(weight.count_nonzero()) for weight in weights),
        parity=parity(output, torch_output(model, valid)),
        history=tuple(history),
    )


def torch_output(model: nn.Module, inputs: Inputs, batch: int = 4096) -> Floats:
    """Outputs of a torch model for all rows."""
    model.eval()
    tensors = [torch.from_numpy(inputs[name]) for name in inputs_of(model, inputs)]
    with torch.no_grad():
        parts = [model(*rows) for rows in zip(*(torch.split(tensor, batch) for tensor in tensors), strict=True)]
    output: Floats = torch.cat(parts).numpy()
    return output
