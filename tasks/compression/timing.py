"""Time of one call of ONNX bytes in ONNX Runtime, beside a reference model that is measured in between."""

import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tasks.compression.runtime import usable_cores
from tasks.problems.base import Inputs

REFERENCE_WIDTHS = (64, 256, 256, 64)
WARM_UP = 3
CALLS = (3, 50)
"""Fewest and most calls a round; in between, as many as fit into ROUND_SECONDS."""
ROUND_SECONDS = 0.01


@dataclass(frozen=True)
class Latency:
    """Medians over rounds, microseconds a call. The ratios are to the reference model, round by round."""

    batch: int
    p50_us: float
    p95_us: float
    ratio_p50: float
    ratio_p95: float
    reference_p50_us: float

    def to_json(self) -> dict[str, Any]:
        """Figures for people; they differ from run to run and must not enter a lock."""
        return {name: round(value, 2) for name, value in vars(self).items()}


class Timed:
    """A model ready to be called with the first rows of some inputs.

    Inputs and outputs are bound once: what is timed is the runtime with these bytes, not Python's way to it.
    """

    def __init__(self, model: bytes, inputs: Inputs, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {item.name: np.ascontiguousarray(inputs[item.name]) for item in self._session.get_inputs()}
        self._binding = self._session.io_binding()
        for name, values in self._inputs.items():
            self._binding.bind_cpu_input(name, values)
        for item in self._session.get_outputs():
            self._binding.bind_output(item.name)
        self.times(1)
        # From now on into the memory of the first call's outputs.
        self._outputs = self._binding.get_outputs()
        for item, value in zip(self._session.get_outputs(), self._outputs, strict=True):
            self._binding.bind_ortvalue_output(item.name, value)
        self.times(WARM_UP)
        typical = statistics.median(self.times(CALLS[0])) / 1e6
        self.calls = int(np.clip(ROUND_SECONDS / typical, *CALLS))

    def times(self, calls: int) -> list[float]:
        """Microseconds of each of `calls` calls."""
        run, binding, clock = self._session.run_with_iobinding, self._binding, time.perf_counter_ns
        result = []
        for _ in range(calls):
            start = clock()
            run(binding)
            result.append((clock() - start) / 1e3)
        return result


def measure(model: bytes, inputs: Inputs, *, batch: int, threads: int, rounds: int) -> Latency:
    """Latency of one model: see `measure_all`."""
    return measure_all([model], inputs, batch=batch, threads=threads, rounds=rounds)[0]


def measure_all(
    models: Sequence[bytes], inputs: Inputs, *, batch: int, threads: int, rounds: int
) -> tuple[Latency, ...]:
    """Latency of each model on the first `batch` rows of `inputs` (repeated if there are fewer).

    Every round measures all models and the reference one after the other, in alternating order: a machine that is
    busy slows all, so the ratio of one round says little about the neighbours. Medians over rounds drop those in which
    the load changed in between. Raises what ONNX Runtime raises when a model cannot be run.
    """
    rows = {name: _first(values, batch) for name, values in inputs.items()}
    timed = [Timed(model, rows, threads) for model in models]
    timed.append(Timed(reference_model(), {"input": np.ones((batch, REFERENCE_WIDTHS[0]), np.float32)}, threads))
    found = np.empty((rounds, len(timed), 2))
    for number in range(rounds):
        places = range(len(timed))
        for place in places if number % 2 else reversed(places):
            found[number, place] = np.quantile(timed[place].times(timed[place].calls), [0.5, 0.95])
    medians = np.median(found, axis=0)
    ratios = np.median(found / found[:, -1:], axis=0)
    return tuple(
        Latency(
            batch=batch,
            p50_us=float(medians[place, 0]),
            p95_us=float(medians[place, 1]),
            ratio_p50=float(ratios[place, 0]),
            ratio_p95=float(ratios[place, 1]),
            reference_p50_us=float(medians[-1, 0]),
        )
        for place in range(len(models))
    )


def idle_model() -> bytes:
    """One identity of one number: what it takes is the runtime's own floor. Its input is `input`, (1,) float32."""
    number = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "idle", number[:1], number[1:])
    return _bytes_of(graph)


def reference_model() -> bytes:
    """A perceptron with fixed weights, some tens of microseconds a call: the unit in which latency is gated."""
    random = np.random.default_rng(0)
    nodes, weights, name = [], [], "input"
    for layer, (width, following) in enumerate(pairwise(REFERENCE_WIDTHS)):
        values = random.standard_normal((width, following), dtype=np.float32) / np.sqrt(np.float32(width))
        weights.append(numpy_helper.from_array(values, f"weight{layer}"))
        nodes += [
            helper.make_node("MatMul", [name, f"weight{layer}"], [f"linear{layer}"]),
            helper.make_node("Relu", [f"linear{layer}"], [f"relu{layer}"]),
        ]
        name = f"relu{layer}"
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", REFERENCE_WIDTHS[0]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", REFERENCE_WIDTHS[-1]])],
        weights,
    )
    return _bytes_of(graph)


def _bytes_of(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _first(values: Any, batch: int) -> Any:
    return (
        np.resize(values, (batch, *values.shape[1:])) if len(values) < batch else np.ascontiguousarray(values[:batch])
    )
