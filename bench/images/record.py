"""The record of a night on images: what each file gets wrong on test rows, its bytes and time, and what made them."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.rows.nights import Night
from tasks.compression.timing import Beside
from tasks.core.files import read_json
from tasks.gates.evaluation_set import EvaluationSet

BATCHES, ROUNDS = (1, 64), 10


def files_of(night: Night) -> Mapping[str, Path]:
    """Return the ONNX file of each model of a night, by role and name."""
    artifacts, run = night.context.artifacts, night.context.run
    places = [
        ("teacher", "teachers", "teacher.onnx", run.teachers),
        ("student", "students", "student.onnx", run.students),
    ]
    places += [("candidate", "candidates", "model.onnx", run.recipes)]
    found = {f"{role} {name}": artifacts / kind / name / file for role, kind, file, names in places for name in names}
    return {name: path for name, path in found.items() if path.is_file()}


def measured(night: Night) -> dict[str, Any]:
    """Run the night up to its verdict, and return the record of its models on test rows."""
    verdict = night.judge()
    dataset, artifacts, run = night.dataset(), night.context.artifacts, night.context.run
    evaluation = EvaluationSet(night.problem, dataset)
    files = {name: path.read_bytes() for name, path in files_of(night).items()}
    weights = {name: read_json(path.parent / "about.json")["parameters"] for name, path in files_of(night).items()}
    lines: dict[str, dict[str, Any]] = {}
    wrong: dict[str, NDArray[np.bool_]] = {}
    for name, data in files.items():
        output = evaluation.run(data)
        score = evaluation.score(output)
        wrong[name] = output.argmax(axis=1) != evaluation.target
        lines[name] = {
            "error": float(wrong[name].mean()),
            "log_loss": score.metrics["log_loss"],
            "bytes": len(data),
            "parameters": weights[name],
            "p50_us": {},
        }
    for batch in BATCHES:
        beside = Beside([*files.values()], evaluation.sample, batch, threads=1, least=1)
        for name, latency in zip(files, beside.measure(ROUNDS), strict=True):
            lines[name]["p50_us"][str(batch)] = round(latency.p50_us, 1)
    about = {name: read_json(artifacts / "candidates" / name / "about.json") for name in run.recipes}
    return {
        "rows": {split: len(rows) for split, rows in dataset.splits.items()},
        "seed": run.seed,
        "verdict": verdict["verdict"],
        "winner": verdict["winner"],
        "models": lines,
        "differences": differences(wrong),
        "steps": {name: found["history"] for name, found in about.items() if "history" in found},
        "compressed": next((found["student"] for found in about.values()), None),
        "seconds": night.seconds(),
        "versions": {library: version(library) for library in ("numpy", "onnxruntime", "torch")},
    }


def differences(wrong: Mapping[str, NDArray[np.bool_]]) -> list[dict[str, Any]]:
    """Return how much more often than another each model is wrong, with the standard error over the same rows.

    Each is compared with the first teacher, and with the student `twin` if there is one.
    """
    others = [next(iter(wrong)), *(name for name in wrong if name == "student twin")]
    found = []
    for other in others:
        for name, rows in wrong.items():
            if name == other:
                continue
            gap = rows.astype(np.float64) - wrong[other]
            error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
            found.append({"model": name, "against": other, "difference": float(gap.mean()), "standard_error": error})
    return found
