"""The stages features, compress and evaluate on a made-up snapshot, each as a night calls it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.config.run import Run
from tasks.core.files import write_json
from tasks.core.settings import Settings
from tasks.stages.context import Context
from tests.sizes.made_up import KIND, MadeUp, build_wide, register

AS_OF = date(2026, 1, 1)
STEPS = ("features", "compress", "evaluate")
WRITTEN = 20_000
"""Rows that are written to the snapshot at once."""


@dataclass(frozen=True)
class Size:
    """So many rows of one kind."""

    rows: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """What a row takes on a disk."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


SIZES = {"images": Size(50_000, (3, 32, 32), "uint8"), "table": Size(10_000_000, (16,), "float32")}


def context(root: Path, size: Size) -> Context:
    """A night's context; its student is one that was never trained, and its teacher the same."""
    training = {"epochs": 1, "batch_size": 256, "learning_rate": 0.001}
    model = {"kind": "wide"}
    run = Run.model_validate(
        {
            "title": "sizes",
            "schedule": "@daily",
            "source": {"kind": "table", "path": "nowhere"},
            "problem": {"kind": KIND, "shape": size.shape, "dtype": size.dtype},
            "teachers": {"teacher": {"model": model, "training": training}},
            "students": {"student": {"model": model, "training": training, "alpha": 1}},
            "recipes": {
                "plain": {},
                "chain": {"steps": [{"kind": "neurons", "keep": 0.5, "epochs": 0}, {"kind": "int8-weights"}]},
                "static": {"steps": [{"kind": "int8-static"}]},
            },
            "gates": {
                "accuracy": {
                    "limit": 10,
                    "naive_margin": 0,
                    "retention": 10,
                    "champion_margin": 1,
                    "max_gain": 1,
                    "resamples": 200,
                },
                "segments": {"by": ["region"], "limit": 1, "min_rows": 1},
                "size": {"max_bytes": 1_000_000},
                "latency": {"batch": 1, "threads": 1, "rounds": 10, "max_p50_ratio": 1e6, "max_p95_ratio": 1e6},
                "parity": {"tolerance": 1},
                "robustness": [
                    {"kind": "noise", "level": 0.01, "limit": 10},
                    {"kind": "blur", "level": 1, "limit": 10},
                ],
            },
            "workload": "sizes",
            "as_of": AS_OF,
            "champion": 0,
        }
    )
    return Context(run, Settings(home=root / "home", project=root), root, root / "pages")


def write_snapshot(path: Path, size: Size) -> None:
    """The table: a day, a number and the row's bytes. Written in parts, for it may be larger than memory."""

    def parts() -> Iterator[pa.RecordBatch]:
        for start in range(0, size.rows, WRITTEN):
            count = min(WRITTEN, size.rows - start)
            numbers = np.random.default_rng(start).integers(1, 255, (count, *size.shape)).astype(size.dtype)
            blob = pa.py_buffer(numbers.tobytes())
            x = pa.Array.from_buffers(pa.binary(size.row_bytes), count, [None, blob])
            day = pa.array([AS_OF] * count, pa.date32())
            yield pa.record_batch([day, pa.array(np.arange(count, dtype=np.float32)), x], names=["date", "size", "x"])

    path.parent.mkdir(parents=True)
    made = parts()
    first = next(made)
    with pq.ParquetWriter(path, first.schema, compression="none", use_dictionary=False) as writer:
        writer.write_batch(first)
        for part in made:
            writer.write_batch(part)


def write_models(ctx: Context) -> None:
    """What teach and distil would leave."""
    import torch

    from tasks.compression.export import export_onnx
    from tasks.problems.blocks.weights import save_weights

    torch.manual_seed(0)
    contract = MadeUp(ctx.run.problem.options).draft_contract()
    model = build_wide({}, contract)
    kind, shape = contract.inputs["x"]
    file = export_onnx(model, contract, {"x": np.zeros((2, *shape), kind)})
    for folder, name in (("teachers/teacher", "teacher.onnx"), ("students/student", "student.onnx")):
        (ctx.artifacts / folder).mkdir(parents=True)
        (ctx.artifacts / folder / name).write_bytes(file)
        write_json(ctx.artifacts / folder / "about.json", {"valid_error": 0.1})
    (ctx.artifacts / "students" / "student" / "model.safetensors").write_bytes(save_weights(model))
    np.save(ctx.artifacts / "teachers" / "teacher" / "soft.npy", np.zeros((1, 1), np.float32))


def prepare(root: Path, size: Size) -> None:
    """A workspace just before the stage features."""
    ctx = context(root, size)
    write_snapshot(ctx.artifacts / "snapshot" / "tables" / "table.parquet", size)
    write_models(ctx)


def step(root: Path, size: Size, name: str) -> None:
    """One of `STEPS`."""
    from importlib import import_module

    register()
    ctx = context(root, size)
    module: Any = import_module(f"tasks.stages.{name}")
    for recipe in ctx.run.recipes if name == "compress" else [None]:
        module.run(ctx, recipe)
