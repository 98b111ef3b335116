"""Four bits for the weights of matrix products, in blocks with a scale and a zero point each.

Bytes are what it saves: MatMulNBits widens the weights again in every call. Blocks as in Dettmers and Zettlemoyer, The
Case for 4-bit Precision (2023); rounding to the nearest level by ONNX Runtime's own quantizer.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.int8 import quiet
from tasks.compression.step import GraphStep, Rows
from tasks.errors import ConfigError

NODE_BYTES = 150
"""What MatMulNBits and its names take in the file more than MatMul does."""


class Int4(GraphStep):
    """`block_size`: weights of an output neuron that share a scale. Products that would not shrink stay as they are."""

    kind = "int4"
    phase = "numbers"
    keeps_zeros = False
    block_size: Literal[16, 32, 64, 128, 256] = 32

    def apply(self, model: onnx.ModelProto, calibration: Rows) -> onnx.ModelProto:
        """Raises ConfigError when the graph has no product that would shrink."""
        with quiet():
            from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

            chosen = self._split_products(model.graph)
            if not chosen:
                raise ConfigError(f"step {self.kind}: no matrix product of the graph gets smaller by it; drop the step")
            others = [node.name for node in model.graph.node if node.name not in chosen]
            quantizer = MatMulNBitsQuantizer(model, block_size=self.block_size, nodes_to_exclude=others)
            quantizer.process()
            narrow: onnx.ModelProto = quantizer.model.model
            return narrow

    def _split_products(self, graph: onnx.GraphProto) -> set[str]:
        """Name all nodes, and turn those products that shrink into MatMul, with Add behind it; their names."""
        weights = {item.name: item for item in graph.initializer if item.data_type == TensorProto.FLOAT}
        nodes: list[onnx.NodeProto] = []
        chosen = set()
        for number, node in enumerate(graph.node):
            node.name = f"node_{number}"
            options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            weight = weights.get(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
            plain = options.get("alpha", 1) == options.get("beta", 1) == 1 and not options.get("transA")
            if (
                weight is None
                or len(weight.dims) != 2
                or not plain
                or not self._saves(weight, options.get("transB", 0))
            ):
                nodes.append(node)
                continue
            chosen.add(node.name)
            nodes += _product(graph, node, weight, options.get("transB", 0))
        del graph.node[:]
        graph.node.extend(nodes)
        return chosen

    def _saves(self, weight: onnx.TensorProto, turned: int) -> bool:
        inputs, outputs = reversed(weight.dims) if turned else weight.dims
        blocks = outputs * -(-inputs // self.block_size)
        narrow = blocks * (self.block_size // 2 + 4 + 1)
        return bool(narrow + NODE_BYTES < 4 * inputs * outputs)


def _product(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: onnx.TensorProto, turned: int
) -> list[onnx.NodeProto]:
    """MatMul of a weight of its own, (inputs, outputs), and Add of the bias if there is one."""
    values = numpy_helper.to_array(weight)
    name = f"{node.name}_weight"
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.T if turned else values), name))
    bias = node.input[2] if len(node.input) > 2 else ""
    product = f"{node.name}_product" if bias else node.output[0]
    nodes = [helper.make_node("MatMul", [node.input[0], name], [product], node.name)]
    if bias:
        nodes.append(helper.make_node("Add", [product, bias], node.output, f"{node.name}_bias"))
    return nodes
