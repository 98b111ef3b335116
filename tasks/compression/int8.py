"""These steps use eight-bit integers for the weights of matrix products, and for the numbers multiplied with them.

Scale and zero point as in Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference (2018). Only matrix products are quantized: the scale normalisation around them
needs float32's range. Very small networks get slower by it, because each conversion costs more than it saves.

Both sides are unsigned: of signed weights with unsigned activations, processors without VNNI instructions cut off the
sums of two products at 16 bits (measured here: ten times the error), so results would depend on the machine.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from pydantic import Field

from tasks.compression.step import Calibration, GraphStep, Trait
from tasks.core.errors import ConfigError
from tasks.problems.base import Batches, Inputs

OPERATORS = ["MatMul", "Gemm"]
NEEDS: frozenset[Trait] = frozenset({"float weights", "products"})
BATCH = 256
CALIBRATION_BYTES = 2 * 2**20
"""Batches are much smaller than elsewhere: the quantizer keeps all that the layers make of a batch."""


class Int8Dynamic(GraphStep):
    """Weights are stored in eight bits; the range of the numbers they multiply is measured anew in every call.

    `per_channel`: one scale per output neuron instead of one per matrix.
    """

    kind = "int8-dynamic"
    phase = "numbers"
    needs = NEEDS
    leaves = frozenset()
    per_channel: bool = True

    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        with _files() as folder:
            quantize_dynamic(
                _prepared(model, self.kind),
                folder / "model.onnx",
                op_types_to_quantize=["MatMul"],
                nodes_to_exclude=_sums(model),
                per_channel=self.per_channel,
                weight_type=QuantType.QUInt8,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(folder / "model.onnx")


class Int8Static(GraphStep):
    """Weights and activations are in eight bits, with ranges fixed on `samples` training rows (QDQ format).

    `per_channel`: one scale per output neuron. Outputs of a product stay float32. `convolutions`: these are computed in
    eight bits too, with weights symmetric around the middle level, and what lies between them stays in eight bits.
    """

    kind = "int8-static"
    phase = "numbers"
    needs = NEEDS
    leaves = frozenset()
    samples: int = Field(default=512, gt=0)
    per_channel: bool = True
    convolutions: bool = False

    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        kinds = [*OPERATORS, "Conv"] if self.convolutions else OPERATORS
        further = {"WeightSymmetric": True} if self.convolutions else {}
        with _files() as folder:
            quantize_static(
                _prepared(model, self.kind),
                folder / "model.onnx",
                _Reader(calibration(self.samples)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=kinds,
                nodes_to_exclude=_sums(model),
                per_channel=self.per_channel,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QUInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"OpTypesToExcludeOutputQuantization": OPERATORS, **further},
            )
            return onnx.load(folder / "model.onnx")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Inputs) -> None:
        self._batches = iter(Batches.of(inputs, CALIBRATION_BYTES, BATCH))

    def get_next(self) -> Inputs | None:
        return next(self._batches, None)


def _prepared(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """Remove the stated inner shapes, which the quantizer's own rewriting would contradict, and split sums off."""
    if not any(node.op_type in OPERATORS for node in model.graph.node):
        raise ConfigError(f"step {kind}: the graph has no matrix product to quantize; drop the step")
    del model.graph.value_info[:]
    _split_sums(model.graph)
    return model


def _split_sums(graph: onnx.GraphProto) -> None:
    """Gemm(a, w, c) of a computed c becomes Gemm(a, w) and an addition: the quantizer takes every c for a bias."""
    constants = {item.name for item in graph.initializer}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] not in constants:
            total, product = node.output[0], f"{node.output[0]}_product"
            nodes.append(helper.make_node("Add", [product, node.input[2]], [total]))
            del node.input[2]
            node.output[0] = product
    del graph.node[:]
    graph.node.extend(nodes)


def _sums(model: onnx.ModelProto) -> list[str]:
    """Name the products with a single column of weights, or with nothing but zeros and ones; return the names.

    Those add up numbers of any size, such as the units whose mean is a window's scale: eight bits would lose them.
    """
    single = {
        item.name
        for item in model.graph.initializer
        if len(item.dims) == 2 and (min(item.dims) == 1 or np.isin(numpy_helper.to_array(item), (0, 1)).all())
    }
    sums = [node for node in model.graph.node if node.op_type in OPERATORS and node.input[1] in single]
    for number, node in enumerate(sums):
        node.name = f"sum{number}"
    return [name for node in sums for name in (node.name, f"{node.name}_MatMul")]  # as a Gemm's product is named


@contextmanager
def quiet() -> Iterator[None]:
    """Silence a quantizer's advice and progress; undo the changes that its import makes to logging."""
    root = logging.getLogger()
    level, handlers, disabled = root.level, root.handlers[:], root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _files() -> Iterator[Path]:
    """Make a folder for the quantizer's files."""
    with quiet(), tempfile.TemporaryDirectory(prefix="nightstill-") as folder:
        yield Path(folder)
