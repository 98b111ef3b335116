"""A model of many outputs also names the best of them, so that a consumer needs no code for it."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.runtime import OUTPUT
from tasks.problems.base import FeatureContract

IDS, SCORES = "ids", "scores"
LOWEST = float(np.finfo(np.float32).min)
"""This is the score of what must not be named: where nothing else is left, the code beside it is 0, which is none."""


def add_choice(graph: onnx.GraphProto, contract: FeatureContract) -> None:
    """Add the outputs IDS and SCORES (batch, choice): codes of the best outputs, the best first, and their values.

    Where fewer are left, the code is 0 and the value LOWEST.
    What stands in the history is left out, unless there are `repeats`. Raises ValueError where the codes of the history
    are not the places of the outputs, from 1.
    """
    ((history, book),) = contract.histories.items()
    if book.first != 1 or contract.output_shape != (len(book.values),):
        raise ValueError(f"{history}: its codes are not the places of the outputs, counted from 1")
    lowest = helper.make_tensor("", TensorProto.FLOAT, [1], [LOWEST])
    tensors: dict[str, NDArray[Any]] = {
        "_edge": np.array([0, 1, 0, 0], np.int64),
        "_lowest": np.array(LOWEST, np.float32),
        "_none": np.array(0, np.int64),
        "_count": np.array([contract.choice], np.int64),
    }
    # Code 0 is nothing: a column before the first item, so that places are codes.
    nodes = [helper.make_node("Pad", [OUTPUT, "_edge", "_lowest"], ["_coded"])]
    if not contract.repeats:
        nodes += [
            helper.make_node("Shape", [history], ["_shape"]),
            helper.make_node("ConstantOfShape", ["_shape"], ["_refused"], value=lowest),
            helper.make_node("ScatterElements", ["_coded", history, "_refused"], ["_left"], axis=1),
        ]
    nodes += [
        helper.make_node("TopK", [nodes[-1].output[0], "_count"], [SCORES, "_best"], axis=1),
        helper.make_node("Greater", [SCORES, "_lowest"], ["_there"]),
        helper.make_node("Where", ["_there", "_best", "_none"], [IDS]),
    ]
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in tensors.items())
    graph.node.extend(nodes)
    for name, kind in ((IDS, TensorProto.INT64), (SCORES, TensorProto.FLOAT)):
        graph.output.append(helper.make_tensor_value_info(name, kind, ["batch", contract.choice]))
