"""This module runs ONNX bytes without torch, so that scoring and evaluation start in a fraction of a second."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnxruntime

from serving.contract.onnx_file import require_self_contained
from tasks.core.errors import IntegrityError
from tasks.problems.base import Batches, Floats, Inputs

OUTPUT = "output"
BATCH = 4096
"""So many rows are computed at once at most: the numbers of a part stay in the processor's cache."""


class OnnxModel:
    """An OnnxModel is a function from inputs to outputs on the CPU. It computes `batch` (None: BATCH) rows at once.

    `threads` of those parts are computed side by side, each on one core: what one part needs stays in the processor's
    cache, which is faster than to share every operator of one large call. Outputs do not depend on their number.
    """

    def __init__(self, model: bytes, threads: int = 1, batch: int | None = None) -> None:
        try:
            require_self_contained(model)
        except ValueError as error:
            raise IntegrityError(f"the model cannot be used: {error}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._threads, self._batch = threads, batch or BATCH
        self.names = tuple(item.name for item in self._session.get_inputs())
        self._shape: tuple[int, ...] = tuple(self._session.get_outputs()[0].shape[1:])

    def __call__(self, inputs: Inputs) -> Floats:
        if len(inputs[self.names[0]]) == 1:  # what makes parts of many rows takes longer than a small model
            found: Floats = self._session.run([OUTPUT], {name: inputs[name] for name in self.names})[0]
            return found
        return self.run(Batches.of({name: inputs[name] for name in self.names}))

    def run(self, batches: Batches) -> Floats:
        """Return outputs of all rows; a batch is let go once it is computed."""
        output = np.empty((len(batches), *self._shape), np.float32)
        parts = self._placed(batches, output)
        if self._threads == 1 or len(batches) <= 1:
            for part, place in parts:
                self._compute(part, place)
            return output
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[None]] = deque()
            for part, place in parts:
                if len(waiting) > self._threads:
                    waiting.popleft().result()
                waiting.append(pool.submit(self._compute, part, place))
            for job in waiting:
                job.result()
        return output

    def _placed(self, batches: Batches, output: Floats) -> Iterator[tuple[Inputs, Floats]]:
        """Yield parts of the batches, each with its lines of the output."""
        start = 0
        for inputs in batches:
            for part in Batches.of({name: inputs[name] for name in self.names}, most=self._batch):
                end = start + len(part[self.names[0]])
                yield part, output[start:end]
                start = end

    def _compute(self, part: Inputs, output: Floats) -> None:
        """Compute a part and write it in place: parts need not be put together."""
        binding = self._session.io_binding()
        for name, values in part.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(values))
        binding.bind_output(OUTPUT, "cpu", 0, np.float32, output.shape, output.ctypes.data)
        self._session.run_with_iobinding(binding)


def run_onnx(model: bytes, inputs: Inputs, threads: int = 1, batch: int = BATCH) -> Floats:
    """Run ONNX bytes for all rows of `inputs`; return the outputs."""
    return OnnxModel(model, threads, batch)(inputs)
