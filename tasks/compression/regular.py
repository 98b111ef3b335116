"""Some tensors' numbers follow a rule: the file holds the rule, and loading makes the numbers of it.

The ones that sum up a window and the numbers of its steps took 7 to 23 % of files of students with long windows.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tasks.compression.weights import Narrow

LARGEST = 2**24
"""Float32 has every whole number up to here."""


def as_rule(tensor: onnx.TensorProto) -> Narrow | None:
    """Return a node that makes the same numbers: one everywhere, or whole numbers evenly apart along one axis."""
    values = numpy_helper.to_array(tensor)
    if values.size < 2 or values.dtype not in (np.float32, np.int64):
        return None
    if (values == values.flat[0]).all():
        shape = numpy_helper.from_array(np.array(values.shape, np.int64), f"{tensor.name}_shape")
        everywhere = numpy_helper.from_array(values.ravel()[:1])
        return Narrow([helper.make_node("ConstantOfShape", [shape.name], [tensor.name], value=everywhere)], [shape])
    # Of other numbers the runtime's own sums could differ in their last digits.
    if values.ndim > 1 or not np.abs(values).max() < LARGEST or (values != np.rint(values)).any():
        return None
    first, step = values[0], values[1] - values[0]
    if not np.array_equal(values, first + step * np.arange(len(values), dtype=values.dtype)):
        return None
    bounds = {"start": first, "limit": first + step * len(values), "delta": step}
    stored = [
        numpy_helper.from_array(np.asarray(value, values.dtype), f"{tensor.name}_{name}")
        for name, value in bounds.items()
    ]
    return Narrow([helper.make_node("Range", [item.name for item in stored], [tensor.name])], stored)
