"""Measure a recommendation at batch 1 by the catalogue's size: `python -m bench.ranking.latency`.

It runs in the task environment. A student `decayed-sum` of 32 numbers an item, untrained, with a history of 50 and its
choice of 100 items, in ONNX Runtime by one thread. Brute force: each call scores the whole catalogue. Processor time
stands beside the wall's, which others on the machine make longer.
"""

import time
from typing import Annotated

import numpy as np
import onnxruntime
import torch
import typer

from tasks.compression.export import export_onnx
from tasks.core.config import Spec
from tasks.problems.models import build_model
from tasks.problems.ranking.dataset import HISTORY, make_contract
from tasks.problems.ranking.options import Options

SIZES = (10**3, 10**4, 10**5, 10**6)
CALLS, WARM_UP = 200, 5


def measured(size: int, width: int) -> tuple[int, float, float, float]:
    """Return the file's bytes, p50 and p95 of a call and its mean processor time, in milliseconds."""
    contract = make_contract(Options(), [str(number) for number in range(size)])
    torch.manual_seed(0)
    model = build_model(Spec(kind="decayed-sum", width=width), contract).eval()
    length = contract.inputs[HISTORY][1][0]
    rng = np.random.default_rng(0)
    data = export_onnx(model, contract, {HISTORY: rng.integers(1, size + 1, (2, length))})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    asked = [{HISTORY: rng.integers(1, size + 1, (1, length))} for _ in range(CALLS + WARM_UP)]
    for given in asked[:WARM_UP]:
        session.run(["ids"], given)
    times, start = [], time.process_time()
    for given in asked[WARM_UP:]:
        begin = time.perf_counter()
        session.run(["ids"], given)
        times.append(time.perf_counter() - begin)
    processor = (time.process_time() - start) / CALLS
    p50, p95 = np.quantile(times, [0.5, 0.95])
    return len(data), 1000 * float(p50), 1000 * float(p95), 1000 * processor


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Items of the catalogue.")] = None,
    width: Annotated[int, typer.Option(help="Numbers of an item's vector.")] = 32,
) -> None:
    """Print a Markdown table."""
    print("| items | bytes | p50 ms | p95 ms | processor ms |\n" + "|---:" * 5 + "|")
    for size in sizes or SIZES:
        data, p50, p95, processor = measured(size, width)
        print(f"| {size:,} | {data:,} | {p50:.3f} | {p95:.3f} | {processor:.3f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
