"""Running ONNX bytes. Free of torch, so that scoring and evaluation start in a fraction of a second."""

import numpy as np
import onnxruntime

from tasks.problems.base import Floats, Inputs

OUTPUT = "output"
BATCH = 4096


class OnnxModel:
    """ONNX bytes as a function from inputs to outputs, computed `batch` rows at a time on the CPU."""

    def __init__(self, model: bytes, threads: int = 1, batch: int = BATCH) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._batch = batch
        self.names = tuple(item.name for item in self._session.get_inputs())

    def __call__(self, inputs: Inputs) -> Floats:
        rows, batch = len(inputs[self.names[0]]), self._batch
        parts = [
            self._session.run([OUTPUT], {name: inputs[name][start : start + batch] for name in self.names})[0]
            for start in range(0, max(rows, 1), batch)
        ]
        return np.concatenate(parts).astype(np.float32, copy=False)


def run_onnx(model: bytes, inputs: Inputs, threads: int = 1, batch: int = BATCH) -> Floats:
    """Outputs of ONNX bytes for all rows of `inputs`."""
    return OnnxModel(model, threads, batch)(inputs)
