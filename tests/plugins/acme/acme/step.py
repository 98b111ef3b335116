"""A compression step: weights of fewer digits, which a compressed transfer of the file makes use of."""

import numpy as np
import onnx
from onnx import numpy_helper
from pydantic import Field

from tasks.compression.step import ALL, Calibration, GraphStep


class Round(GraphStep):
    """`bits`: of a float32's 23 binary digits behind the point, how many stay."""

    kind = "acme-round"
    phase = "numbers"
    needs = frozenset({"float weights"})
    leaves = ALL
    bits: int = Field(default=12, gt=0, le=23)

    def apply(self, model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        mask = np.uint32(0xFFFFFFFF << (23 - self.bits) & 0xFFFFFFFF)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                bits = numpy_helper.to_array(tensor).astype(np.float32).view(np.uint32) & mask
                tensor.CopyFrom(numpy_helper.from_array(bits.view(np.float32), tensor.name))
        return model
