"""Running ONNX bytes. Free of torch, so that scoring and evaluation start in a fraction of a second."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime

from serving.contract.onnx_file import require_self_contained
from tasks.core.errors import IntegrityError
from tasks.problems.base import Floats, Inputs

OUTPUT = "output"
BATCH = 4096


class OnnxModel:
    """ONNX bytes as a function from inputs to outputs on the CPU, computed `batch` rows at a time.

    `threads` of those parts are computed side by side, each on one core: what one part needs stays in the processor's
    cache, which is faster than to share every operator of one large call. Outputs do not depend on their number.
    """

    def __init__(self, model: bytes, threads: int = 1, batch: int = BATCH) -> None:
        try:
            require_self_contained(model)
        except ValueError as error:
            raise IntegrityError(f"the model cannot be used: {error}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._threads, self._batch = threads, batch
        self.names = tuple(item.name for item in self._session.get_inputs())
        self._shape: tuple[int, ...] = tuple(self._session.get_outputs()[0].shape[1:])

    def __call__(self, inputs: Inputs) -> Floats:
        given = {name: np.ascontiguousarray(inputs[name]) for name in self.names}
        output = np.empty((len(given[self.names[0]]), *self._shape), np.float32)

        def compute(start: int) -> None:
            rows = slice(start, start + self._batch)
            binding = self._session.io_binding()
            for name, values in given.items():
                binding.bind_cpu_input(name, values[rows])
            part = output[rows]  # written in place: parts need not be put together
            binding.bind_output(OUTPUT, "cpu", 0, np.float32, part.shape, part.ctypes.data)
            self._session.run_with_iobinding(binding)

        starts = range(0, len(output), self._batch)
        if self._threads == 1 or len(starts) == 1:
            for start in starts:
                compute(start)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(compute, starts))
        return output


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_onnx(model: bytes, inputs: Inputs, threads: int = 1, batch: int = BATCH) -> Floats:
    """Outputs of ONNX bytes for all rows of `inputs`."""
    return OnnxModel(model, threads, batch)(inputs)
