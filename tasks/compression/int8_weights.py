"""Eight bits for stored weights, with one scale an output neuron; arithmetic stays float32.

A quarter of the bytes at the same speed, and inputs are not rounded at all: what int8-dynamic and int8-static round
besides the weights. Weights are symmetric around zero, so pruned ones stay zero; scale as in Krishnamoorthi, Quantizing
Deep Convolutional Networks for Efficient Inference (2018).

The graph widens by Cast and Mul, which ONNX Runtime folds while loading. It does not fold DequantizeLinear: in 1.31
one before a product becomes MatMulNBits, which rounds inputs to eight bits as well (measured: 0.4 % off on a product
whose weights were exact).
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field

from tasks.compression.step import GraphStep, Rows
from tasks.compression.weights import Narrow, narrow_weights

LARGEST = 127


class Int8Weights(GraphStep):
    """`min_elements`: smaller tensors stay float32; so do vectors such as biases, which are few and matter."""

    kind = "int8-weights"
    phase = "numbers"
    min_elements: int = Field(default=64, gt=0)

    def apply(self, model: onnx.ModelProto, calibration: Rows) -> onnx.ModelProto:
        axes = output_axes(model.graph)
        narrow_weights(model.graph, lambda tensor: self._narrow(tensor, axes.get(tensor.name, -1)))
        return model

    def _narrow(self, tensor: onnx.TensorProto, axis: int) -> Narrow | None:
        size = np.prod(tensor.dims)
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or size < self.min_elements:
            return None
        values = numpy_helper.to_array(tensor)
        if not np.isfinite(values).all():
            return None
        others = tuple(place for place in range(values.ndim) if place != axis % values.ndim)
        scale = np.abs(values).max(axis=others, keepdims=True) / np.float32(LARGEST)
        scale[scale == 0] = 1
        name = tensor.name
        stored = numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}_int8")
        scales = numpy_helper.from_array(scale, f"{name}_scale")
        nodes = [
            helper.make_node("Cast", [stored.name], [f"{name}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_cast", scales.name], [name]),
        ]
        return Narrow(nodes, [stored, scales])


def output_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """The axis of outputs of each stored tensor that a product, convolution or recurrent layer reads as its weight."""
    axes = {}
    for node in graph.node:
        if node.op_type in ("Gemm", "Conv", "MatMul"):
            turned = any(item.name == "transB" and item.i for item in node.attribute)
            axes[node.input[1]] = 0 if turned or node.op_type == "Conv" else -1
        if node.op_type in ("LSTM", "GRU", "RNN"):
            axes |= dict.fromkeys(node.input[1:3], 1)  # (directions, gates x hidden, inputs)
    return axes
