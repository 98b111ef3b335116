"""Half precision for stored weights; arithmetic stays float32.

ONNX Runtime's CPU kernels compute in float32 and would convert around every node of a float16 graph. Here each weight
is stored as float16 and converted once, when the file is loaded (constant folding): half the bytes, the same speed,
and no overflow of large sales in the scale normalisation. Inputs and outputs stay float32.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field

from tasks.compression.step import GraphStep
from tasks.problems.base import Inputs


class Fp16(GraphStep):
    """`min_elements`: smaller tensors stay float32, because the conversion node would cost more bytes than it saves."""

    kind = "fp16"
    phase = "numbers"
    min_elements: int = Field(default=64, gt=0)

    def apply(self, model: onnx.ModelProto, calibration: Callable[[int], Inputs]) -> onnx.ModelProto:
        casts = []
        for tensor in model.graph.initializer:
            if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < self.min_elements:
                continue
            values = numpy_helper.to_array(tensor)
            if np.abs(values).max() > np.finfo(np.float16).max:
                continue
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
        nodes = [*casts, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        return model
