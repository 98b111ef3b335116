"""Running ONNX bytes. Free of torch, so that scoring and evaluation start in a fraction of a second."""

import numpy as np
import onnxruntime

from tasks.problems.base import Floats, Inputs, Predict

OUTPUT = "output"
BATCH = 4096


def load_onnx(model: bytes, threads: int = 1, batch: int = BATCH) -> Predict:
    """ONNX bytes as a function from inputs to outputs, computed `batch` rows at a time on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def predict(inputs: Inputs) -> Floats:
        rows = len(inputs[names[0]])
        parts = [
            session.run([OUTPUT], {name: inputs[name][start : start + batch] for name in names})[0]
            for start in range(0, max(rows, 1), batch)
        ]
        return np.concatenate(parts).astype(np.float32, copy=False)

    return predict


def run_onnx(model: bytes, inputs: Inputs, threads: int = 1, batch: int = BATCH) -> Floats:
    """Outputs of ONNX bytes for all rows of `inputs`."""
    return load_onnx(model, threads, batch)(inputs)
