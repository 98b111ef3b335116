"""This module stores a graph's weights in a narrower form that is widened when the file is loaded.

ONNX Runtime computes what depends on stored tensors alone once, while it loads (constant folding): the graph that
runs is the one with wide weights, at its speed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Narrow:
    """A Narrow form is computed: `nodes` make a stored tensor from `tensors`; the last node's output bears its name."""

    nodes: Sequence[onnx.NodeProto]
    tensors: Sequence[onnx.TensorProto]

    @property
    def bytes(self) -> int:
        """Count the bytes that this form takes in the file."""
        return sum(item.ByteSize() for part in (self.nodes, self.tensors) for item in part)


def narrow_weights(graph: onnx.GraphProto, narrower: Callable[[onnx.TensorProto], Narrow | None]) -> None:
    """Store each tensor as `narrower` says, in place, if it says so and the file gets smaller by it."""
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        found = narrower(tensor)
        if found is None or found.bytes >= tensor.ByteSize():
            tensors.append(tensor)
        else:
            nodes += found.nodes
            tensors += found.tensors
    nodes += graph.node
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
