"""This times ONNX Runtime on the product's models: `python -m bench.ours.speed --out DIR`, on an idle machine.

All models that `bench.ours` left in DIR are timed in one go, in turn, because neighbours on a machine come and go.
Where the runtime's floor is far from the lowest, the machine was not idle, and a night's models are timed again. Models
that are not there keep the speed that they had: records are kept longer than files.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import onnxruntime
import typer
from rich.console import Console
from rich.progress import track

from bench.files import write
from bench.processes import program
from tasks.compression.runtime import OnnxModel
from tasks.compression.timing import idle_model, measure_all
from tasks.problems.base import Inputs

SPEED = "speed.json"
ROUNDS, MANY_ROUNDS = 60, 9
TRIES, BUSY = 3, 1.2
"""A night is timed so many times, and again while its floor is so many times the lowest."""
ENOUGH = 5e3
"""A model is timed no further after these milliseconds of many rows: a large teacher takes as long for one call."""
ROWS = 30_490


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    threads: Annotated[int, typer.Option(help="For many rows.")] = 2,
) -> None:
    """Write speed.json: set-seed-model -> microseconds of one row, and milliseconds of 30,490 rows."""
    console = Console(stderr=True)
    file = out / SPEED
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    nights = sorted(path for path in (out / "models").iterdir() if path.is_dir())
    floors: dict[Path, float] = {}
    for _ in range(TRIES):
        pending = [night for night in nights if night not in floors or floors[night] > BUSY * min(floors.values())]
        for night in track(pending, "models", console=console):
            models = {
                model.name: {file.stem: file.read_bytes() for file in sorted(model.glob("*.onnx"))}
                for model in sorted(night.iterdir())
            }
            speeds = _speeds(models, threads)
            floor = next(iter(speeds.values()))["onnx_floor_us"]
            if floor > floors.get(night, math.inf):
                continue
            floors[night] = floor
            for name, speed in speeds.items():
                found[f"{night.name}-{name}"] = speed
                console.print(f"{night.name} {name}: {speed['onnx_us']:.1f} us, {speed['onnx_many_ms']:.1f} ms")
            write(file, found)


def _speeds(models: Mapping[str, Mapping[str, bytes]], threads: int) -> dict[str, dict[str, float]]:
    """Return the speeds of each model, which may have several members: their times add up."""
    members = [(name, data) for name, files in models.items() for data in files.values()]
    one = inputs_of([data for _, data in members], 1) | {"input": np.zeros(1, np.float32)}
    *latency, idle = measure_all([*(data for _, data in members), idle_model()], one, batch=1, threads=1, rounds=ROUNDS)
    many, loaded = inputs_of([data for _, data in members], ROWS), [OnnxModel(data, threads) for _, data in members]
    times: list[list[float]] = [[] for _ in loaded]
    for _ in range(MANY_ROUNDS):
        for place, model in enumerate(loaded):
            if sum(times[place]) > ENOUGH:
                continue
            begun = time.perf_counter()
            model(many)
            times[place].append(1e3 * (time.perf_counter() - begun))
    speeds: dict[str, dict[str, float]] = {}
    for name in models:
        own = [place for place, (of, _) in enumerate(members) if of == name]
        speeds[name] = {
            "onnx_us": sum(latency[place].p50_us for place in own),
            "onnx_ratio": sum(latency[place].ratio_p50 for place in own),
            "onnx_floor_us": idle.p50_us,
            "onnx_many_ms": sum(median(times[place]) for place in own),
        }
    return speeds


def inputs_of(models: list[bytes], rows: int) -> Inputs:
    """Return random rows for all inputs of the models: amounts, and codes that every table has."""
    generator = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for data in models:
        for item in onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).get_inputs():
            shape = (rows, *item.shape[1:])
            whole = item.type == "tensor(int64)"
            found[item.name] = np.zeros(shape, np.int64) if whole else generator.random(shape, dtype=np.float32)
    return found


if __name__ == "__main__":
    program(main)
