"""A correction of outputs stands at the end of a model's own graph, so that whoever runs the file has it too."""

import onnx
from onnx import numpy_helper

from tasks.compression.onnx_graph import to_bytes
from tasks.compression.runtime import OUTPUT
from tasks.problems.base import Correction

BEFORE = "_uncorrected"


def corrected(model: bytes, correction: Correction) -> bytes:
    """Return the ONNX bytes of the model with the correction behind its output."""
    changed = onnx.load_model_from_string(model)
    graph = changed.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [BEFORE if name == OUTPUT else name for name in names]
    nodes, constants = correction.nodes(BEFORE, OUTPUT)
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    graph.node.extend(nodes)
    return to_bytes(changed)
