"""The inputs of a graph's stored matrices are measured here: they decide how exactly weights must be kept."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tasks.problems.base import Batches, Inputs

BATCH = 256
WIDEST = 4096
"""A matrix has at most so many inputs: their square takes 128 MiB. A wider matrix is left out."""


@dataclass(frozen=True)
class Product:
    """A Product has a stored matrix on its right side. `turned`: stored (out, in). `given`: the left side's name."""

    given: str
    turned: bool


def products(graph: onnx.GraphProto) -> dict[str, list[Product]]:
    """Return the products of rows with stored matrices, by the matrix."""
    matrices = {item.name for item in graph.initializer if item.data_type == TensorProto.FLOAT and len(item.dims) == 2}
    found: dict[str, list[Product]] = {}
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in matrices:
            options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if not options.get("transA"):
                found.setdefault(node.input[1], []).append(Product(node.input[0], bool(options.get("transB"))))
    return found


def mean_squares(model: onnx.ModelProto, rows: Inputs) -> dict[str, NDArray[np.float64]]:
    """Return (in, in) mean of x x^T over the rows that multiply each stored matrix when the graph computes `rows`.

    A matrix that products read in two ways, as it is and turned, is left out; so is one that is very wide, and one
    whose rows are not finite.
    """
    shapes = {item.name: item.dims for item in model.graph.initializer}
    read = {
        name: uses
        for name, uses in products(model.graph).items()
        if len({use.turned for use in uses}) == 1 and shapes[name][int(uses[0].turned)] <= WIDEST
    }
    if not read:
        return {}
    wanted = sorted({use.given for uses in read.values() for use in uses})
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    shown = {item.name for item in [*tapped.graph.input, *tapped.graph.output]}
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in shown)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])
    needed = [item.name for item in session.get_inputs()]
    asked = [item.name for item in session.get_outputs() if item.name in wanted]
    sums: dict[str, NDArray[np.float64]] = {}
    counts = dict.fromkeys(wanted, 0)
    for part in Batches.of({name: rows[name] for name in needed}, most=BATCH):
        seen = dict(zip(asked, session.run(asked, part), strict=True)) if asked else {}
        for name, values in {**part, **seen}.items():
            if name in counts:
                flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
                with np.errstate(invalid="ignore", over="ignore"):
                    sums[name] = sums.get(name, 0.0) + flat.T @ flat
                counts[name] += len(flat)
    means = {
        matrix: np.sum([sums[use.given] for use in uses], axis=0) / sum(counts[use.given] for use in uses)
        for matrix, uses in read.items()
    }
    return {matrix: mean for matrix, mean in means.items() if np.isfinite(mean).all()}
