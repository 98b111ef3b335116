"""These steps store weights in eight or four bits, with one scale an output neuron; arithmetic stays float32.

A quarter or an eighth of the bytes at the same speed, and inputs are not rounded at all: what int8-dynamic and
int8-static round besides the weights. Weights are symmetric around zero, so pruned ones stay zero; scale as in
Krishnamoorthi, Quantizing Deep Convolutional Networks for Efficient Inference (2018). What products read is rounded by
what it makes of training rows (see `rounding`), everything else to the nearest level.

The graph widens by Cast and Mul, which ONNX Runtime folds while loading. It does not fold DequantizeLinear: in 1.31
one before a product becomes MatMulNBits, which rounds inputs to eight bits as well (measured: 0.4 % off on a product
whose weights were exact). `int8-weights` with `products: int8` wants just that: a product with one row reads each
weight once, so that a large matrix takes the time in which memory delivers it.
"""

from typing import ClassVar, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter
from pydantic import Field

from tasks.compression.product_inputs import mean_squares
from tasks.compression.rounding import round_weights
from tasks.compression.step import Calibration, GraphStep
from tasks.compression.weights import Narrow, narrow_weights

EIGHT = 127
"""This is the largest level that eight bits hold on both sides of zero."""
OPSET_OF_INT4, IR_OF_INT4 = 21, 10


class IntegerWeights(GraphStep):
    """`min_elements` is the least size: smaller tensors stay float32; so do vectors such as biases, few and important.

    `samples`: training rows by which products are rounded.
    """

    phase = "numbers"
    needs = frozenset({"float weights"})
    leaves = frozenset({"zeros"})
    largest: ClassVar[int] = EIGHT
    min_elements: int = Field(default=64, gt=0)
    samples: int = Field(default=2048, gt=0)

    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        axes, squares = output_axes(model.graph), mean_squares(model, calibration(self.samples))
        looked_up, eight = self.in_fewest_bits(model.graph), self.multiplied_in_eight_bits(model.graph)
        narrow_weights(
            model.graph, lambda tensor: self._narrow(tensor, axes.get(tensor.name, -1), squares, looked_up, eight)
        )
        return model

    def in_fewest_bits(self, graph: onnx.GraphProto) -> frozenset[str]:
        """Return the names of tensors that no product reads, and that have as few levels as those of products."""
        return frozenset()

    def multiplied_in_eight_bits(self, graph: onnx.GraphProto) -> frozenset[str]:
        """Return the names of matrices that are not widened: their products are computed in eight bits."""
        return frozenset()

    def _narrow(
        self,
        tensor: onnx.TensorProto,
        axis: int,
        squares: dict[str, NDArray[np.float64]],
        looked_up: frozenset[str],
        eight: frozenset[str],
    ) -> Narrow | None:
        size = np.prod(tensor.dims)
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or size < self.min_elements:
            return None
        values = numpy_helper.to_array(tensor)
        if not np.isfinite(values).all():
            return None
        last = np.moveaxis(values, axis, -1)
        matrix = torch.from_numpy(last.reshape(-1, last.shape[-1]).astype(np.float64))
        known = squares.get(tensor.name)
        largest = EIGHT if known is None and tensor.name not in looked_up else self.largest
        levels, scales = round_weights(matrix, None if known is None else torch.from_numpy(known), largest)
        whole = np.moveaxis(levels.numpy().astype(np.int8).reshape(last.shape), -1, axis)
        if tensor.name in eight:
            return _multiplied(tensor.name, whole, scales.numpy().astype(np.float32))
        shape = np.ones(values.ndim, dtype=np.int64)
        shape[axis] = -1
        return _widened(tensor.name, whole, scales.numpy().astype(np.float32).reshape(shape), four=largest < EIGHT)


def _widened(name: str, levels: NDArray[np.int8], scales: NDArray[np.float32], *, four: bool) -> Narrow:
    narrow = TensorProto.INT4 if four else TensorProto.INT8
    content = _packed(levels) if four else levels.tobytes()
    stored = helper.make_tensor(f"{name}_levels", narrow, levels.shape, content, raw=True)
    nodes = [
        helper.make_node("Cast", [stored.name], [f"{name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name]),
    ]
    return Narrow(nodes, [stored, numpy_helper.from_array(scales, f"{name}_scale")])


def _multiplied(name: str, levels: NDArray[np.int8], scales: NDArray[np.float32]) -> Narrow:
    """Return a matrix (in, out) of levels, with the scale of each output, that the runtime multiplies as it is."""
    stored = [numpy_helper.from_array(levels, f"{name}_levels"), numpy_helper.from_array(scales, f"{name}_scale")]
    return Narrow([helper.make_node("DequantizeLinear", [item.name for item in stored], [name], axis=1)], stored)


def _packed(levels: NDArray[np.int8]) -> bytes:
    """Pack levels two a byte, the first in the lower half, as ONNX has it."""
    flat = levels.ravel().astype(np.uint8) & 0x0F
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return (flat[::2] | flat[1::2] << 4).tobytes()


class Int8Weights(IntegerWeights):
    """The levels go from -127 to 127.

    `products`: `int8` leaves the matrices of `MatMul` in eight bits when the file is loaded, and rounds what they
    multiply in each call: faster where one is large, such as the vectors of many items, and slower where it is small.
    """

    kind = "int8-weights"
    products: Literal["float32", "int8"] = "float32"

    def multiplied_in_eight_bits(self, graph: onnx.GraphProto) -> frozenset[str]:
        """A matrix that anything else reads as well is widened."""
        if self.products == "float32":
            return frozenset()
        matrices = {item.name for item in graph.initializer if len(item.dims) == 2}
        others = {
            name
            for node in graph.node
            for place, name in enumerate(node.input)
            if (node.op_type, place) != ("MatMul", 1)
        }
        return frozenset(matrices - others)


class Int4Weights(IntegerWeights):
    """The levels go from -7 to 7 for weights that products read; the rest takes eight bits.

    `tables`: so do tables whose rows are looked up, such as vectors of tokens; their values go to the nearest level.
    """

    kind = "int4-weights"
    leaves = frozenset()
    largest = 7
    tables: bool = False

    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        """The graph gets the version of ONNX that knows of four bits."""
        if all(item.version < OPSET_OF_INT4 for item in model.opset_import if not item.domain):
            model = version_converter.convert_version(model, OPSET_OF_INT4)
            model.ir_version = max(model.ir_version, IR_OF_INT4)
        return super().apply(model, calibration)

    def in_fewest_bits(self, graph: onnx.GraphProto) -> frozenset[str]:
        return (
            frozenset(node.input[0] for node in graph.node if node.op_type == "Gather") if self.tables else frozenset()
        )


def output_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the axis of outputs of each stored tensor that a product, convolution or recurrent layer has as weight."""
    axes = {}
    for node in graph.node:
        if node.op_type in ("Gemm", "Conv", "MatMul"):
            turned = any(item.name == "transB" and item.i for item in node.attribute)
            axes[node.input[1]] = 0 if turned or node.op_type == "Conv" else -1
        if node.op_type in ("LSTM", "GRU", "RNN"):
            axes |= dict.fromkeys(node.input[1:3], 1)  # (directions, gates x hidden, inputs)
    return axes
