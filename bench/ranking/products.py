"""Measure what products in eight bits save of a recommendation's time: `python -m bench.ranking.products`.

It runs in the task environment. The student is that of `bench.ranking.latency`: untrained, a history of 50, its choice
of 100 items, batch 1, one thread. Two files are called in turns in one process, so that what else the machine does
slows both: with weights in float32, and after `int8-weights` with `products: int8`.
"""

import time
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import torch
import typer

from tasks.compression.export import export_onnx
from tasks.compression.integer_weights import Int8Weights
from tasks.compression.onnx_graph import to_bytes
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.options import AT, Options

SIZES = (10**4, 10**5)
CALLS, WARM_UP, SAMPLES = 400, 5, 256


def files(size: int, width: int) -> tuple[bytes, bytes]:
    """Return an untrained student with weights in float32, and with products in eight bits."""
    contract = make_contract(Options(), [str(number) for number in range(size)])
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=width), contract).eval()
    rng = np.random.default_rng(1)
    rows = {HISTORY: rng.integers(1, size + 1, (SAMPLES, *contract.inputs[HISTORY][1]))}
    plain = export_onnx(model, contract, {HISTORY: rows[HISTORY][:2]})
    step = Int8Weights(products="int8", samples=SAMPLES)
    return plain, to_bytes(step.apply(onnx.load_model_from_string(plain), lambda _: rows))


def session(data: bytes) -> onnxruntime.InferenceSession:
    """Return the file, ready to be called by one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def measured(size: int, width: int) -> str:
    """Return a line of the table."""
    both = files(size, width)
    sessions = [session(data) for data in both]
    (length,) = sessions[0].get_inputs()[0].shape[1:]
    rng = np.random.default_rng(0)
    times, processor, shared = np.zeros((CALLS, 2)), np.zeros(2), 0
    for call in range(-WARM_UP, CALLS):
        given = {HISTORY: rng.integers(1, size + 1, (1, length))}
        named = []
        for place, one in enumerate(sessions):
            start, begin = time.process_time(), time.perf_counter()
            (ids,) = one.run(["ids"], given)
            if call >= 0:
                times[call, place] = time.perf_counter() - begin
                processor[place] += time.process_time() - start
            named.append(set(ids[0, :AT]))
        shared += len(named[0] & named[1]) if call >= 0 else 0
    p50, cpu = 1000 * np.median(times, axis=0), 1000 * processor / CALLS
    wall, work = np.median(times[:, 1] / times[:, 0]), cpu[1] / cpu[0]
    numbers = f"{p50[0]:.2f}, {p50[1]:.2f} | {cpu[0]:.2f}, {cpu[1]:.2f} | {wall:.2f}, {work:.2f}"
    return f"| {size:,} | {len(both[0]):,}, {len(both[1]):,} | {numbers} | {shared / CALLS / AT:.3f} |"


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Items of the catalogue.")] = None,
    width: Annotated[int, typer.Option(help="Numbers of an item's vector.")] = 32,
) -> None:
    """Print a Markdown table; of two numbers the second is of products in eight bits."""
    head = "items | bytes | p50 ms | processor ms | ratio of p50, of processor time | overlap of the best ten"
    print(f"| {head} |\n" + "|---:" * 6 + "|")
    for size in sizes or SIZES:
        print(measured(size, width), flush=True)


if __name__ == "__main__":
    typer.run(main)
