"""This module times one call of ONNX bytes in ONNX Runtime, beside a reference model that is measured in between."""

import math
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy import special

from serving.contract.onnx_file import require_self_contained
from tasks.core.machine import usable_cores
from tasks.problems.base import Inputs

REFERENCE_WIDTHS = (64, 256, 256, 64)
LEAST_CALLS, MOST_CALLS = 3, 50
"""A round has at least and at most so many calls; in between, as many as fit into ROUND_SECONDS."""
ROUND_SECONDS = 0.01
CONFIDENCE = 0.99
MOST_ROUNDS = 10

Interval = tuple[float, float]
UNKNOWN: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Latency:
    """Latency holds medians over rounds, microseconds a call. The ratios are to the reference model, round by round.

    `interval_p50`, `interval_p95`: of the median ratio, NaN of too few rounds.
    """

    batch: int
    p50_us: float
    p95_us: float
    ratio_p50: float
    ratio_p95: float
    reference_p50_us: float
    interval_p50: Interval = UNKNOWN
    interval_p95: Interval = UNKNOWN
    rounds: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return figures for people; they differ from run to run and must not enter a lock."""
        figures = ("batch", "p50_us", "p95_us", "ratio_p50", "ratio_p95", "reference_p50_us", "rounds")
        return {name: round(getattr(self, name), 2) for name in figures}


class Timed:
    """A Timed model is ready to be called with the first rows of some inputs.

    Inputs and outputs are bound once: what is timed is the runtime with these bytes, not Python's way to it. `least`:
    calls of a round, and before the first, of a model that takes longer than a round.
    """

    def __init__(self, model: bytes, inputs: Inputs, threads: int, least: int = LEAST_CALLS) -> None:
        require_self_contained(model)
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
        self.times(least)
        typical = statistics.median(self.times(least)) / 1e6
        self.calls = int(np.clip(ROUND_SECONDS / typical, least, MOST_CALLS))

    def times(self, calls: int) -> list[float]:
        """Return the microseconds of each of `calls` calls."""
        run, binding, clock = self._session.run_with_iobinding, self._binding, time.perf_counter_ns
        result = []
        for _ in range(calls):
            start = clock()
            run(binding)
            result.append((clock() - start) / 1e3)
        return result


class Beside:
    """Beside measures some models and the reference model in turns on the first `batch` rows of some inputs.

    Every round measures all models one after the other, in alternating order: a machine that is busy slows all, so the
    ratio of one round says little about the neighbours. Medians over rounds drop those in which the load changed in
    between. Rows are repeated if there are too few. Raises what ONNX Runtime raises when a model cannot be run.
    """

    def __init__(
        self, models: Sequence[bytes], inputs: Inputs, batch: int, threads: int, least: int = LEAST_CALLS
    ) -> None:
        rows = {name: _first(values, batch) for name, values in inputs.items()}
        self._batch, self._threads = batch, threads
        self._timed = [Timed(model, rows, threads, least) for model in models]
        reference = {"input": np.ones((batch, REFERENCE_WIDTHS[0]), np.float32)}
        self._timed.append(Timed(reference_model(), reference, threads))
        # One of (models and the reference, 2) a round: p50 and p95 in microseconds.
        self._rounds: list[NDArray[np.float64]] = []

    def measure(self, rounds: int) -> tuple[Latency, ...]:
        """Return the latency of each model over these rounds and all before them."""
        with on_one_core(self._timed[-1]) if self._threads == 1 else nullcontext():
            for _ in range(rounds):
                self._rounds.append(self._round(backwards=len(self._rounds) % 2 == 0))
        found = np.stack(self._rounds)
        ratios = found / found[:, -1:]
        medians, middle = np.median(found, axis=0), np.median(ratios, axis=0)
        return tuple(
            Latency(
                batch=self._batch,
                p50_us=float(medians[place, 0]),
                p95_us=float(medians[place, 1]),
                ratio_p50=float(middle[place, 0]),
                ratio_p95=float(middle[place, 1]),
                reference_p50_us=float(medians[-1, 0]),
                interval_p50=median_interval(ratios[:, place, 0]),
                interval_p95=median_interval(ratios[:, place, 1]),
                rounds=len(found),
            )
            for place in range(len(self._timed) - 1)
        )

    def _round(self, *, backwards: bool) -> NDArray[np.float64]:
        found = np.empty((len(self._timed), 2))
        places = range(len(self._timed))
        for place in reversed(places) if backwards else places:
            found[place] = np.quantile(self._timed[place].times(self._timed[place].calls), [0.5, 0.95])
        return found


def measure(
    model: bytes, inputs: Inputs, *, batch: int, threads: int, rounds: int, least: int = LEAST_CALLS
) -> Latency:
    """Measure the latency of one model: see `Beside`."""
    return Beside([model], inputs, batch, threads, least).measure(rounds)[0]


def measure_all(
    models: Sequence[bytes], inputs: Inputs, *, batch: int, threads: int, rounds: int
) -> tuple[Latency, ...]:
    """Measure the latency of each model, all in turns: see `Beside`."""
    return Beside(models, inputs, batch, threads).measure(rounds)


def measure_against(
    model: bytes, inputs: Inputs, limits: tuple[float, float], *, batch: int, threads: int, rounds: int
) -> Latency:
    """Measure the latency of a model whose p50 and p95 ratios are to be held against `limits`.

    Measures on as long as a limit lies within the interval of its ratio, at most `MOST_ROUNDS` times `rounds`. The
    first look that is clear ends it, so the intervals' confidence is higher than what one look would need.
    """
    bench = Beside([model], inputs, batch, threads)
    for _ in range(MOST_ROUNDS):
        (found,) = bench.measure(rounds)
        intervals = (found.interval_p50, found.interval_p95)
        if not any(straddles(interval, limit) for interval, limit in zip(intervals, limits, strict=True)):
            break
    return found


def straddles(interval: Interval, limit: float) -> bool:
    """Return whether an interval leaves it open if the limit is kept. So does one that is not known."""
    low, high = interval
    return not (high <= limit or low > limit)


def median_interval(values: NDArray[np.float64]) -> Interval:
    """Return the interval of the median by order statistics, whatever the distribution: binomial ranks with p = 1/2.

    Source: Conover, Practical Nonparametric Statistics (1999), section 3.2. NaN of too few values.
    """
    # As scipy.stats.binom.ppf, whose import takes a second of every stage that compresses.
    chances = special.bdtr(np.arange(len(values) + 1), len(values), 0.5)
    rank = int(np.searchsorted(chances, (1 - CONFIDENCE) / 2))
    if rank < 1:
        return UNKNOWN
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[-rank])


@contextmanager
def on_one_core(reference: Timed) -> Iterator[None]:
    """Keep this thread on the core that runs the reference model quickest just now; afterwards undo it.

    A thread that moves to another core loses its caches in the middle of a round. Where the platform has no such call
    or forbids it, nothing happens.
    """
    try:
        before = os.sched_getaffinity(0)
        took = {}
        try:
            for core in sorted(before):
                os.sched_setaffinity(0, {core})
                took[core] = statistics.median(reference.times(reference.calls))
            os.sched_setaffinity(0, {min(took, key=lambda core: took[core])})
        except OSError:
            os.sched_setaffinity(0, before)
    except (AttributeError, OSError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def idle_model() -> bytes:
    """Return a graph of one identity of one number, the runtime's own floor. Its input is `input`, (1,) float32."""
    number = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "idle", number[:1], number[1:])
    return _bytes_of(graph)


def reference_model() -> bytes:
    """Return a perceptron with fixed weights, some tens of microseconds a call: the unit in which latency is gated."""
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
    """Return the machine on which the figures were measured."""
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
