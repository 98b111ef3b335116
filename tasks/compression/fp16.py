"""This step stores weights in half precision; arithmetic stays float32.

ONNX Runtime's CPU kernels compute in float32 and would convert around every node of a float16 graph. Here each weight
is stored as float16 and converted once, when the file is loaded: half the bytes, the same speed, and no overflow of
large sales in the scale normalisation. Inputs and outputs stay float32.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field

from tasks.compression.step import Calibration, GraphStep
from tasks.compression.weights import Narrow, narrow_weights


class Fp16(GraphStep):
    """`min_elements` is the least size: smaller tensors stay float32, as do any that half precision cannot hold."""

    kind = "fp16"
    phase = "numbers"
    needs = frozenset({"float weights"})
    leaves = frozenset({"zeros"})
    min_elements: int = Field(default=64, gt=0)

    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        narrow_weights(model.graph, self._half)
        return model

    def _half(self, tensor: onnx.TensorProto) -> Narrow | None:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < self.min_elements:
            return None
        values = numpy_helper.to_array(tensor)
        if not np.abs(values).max() <= np.finfo(np.float16).max:
            return None
        stored = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_fp16")
        return Narrow([helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT)], [stored])
