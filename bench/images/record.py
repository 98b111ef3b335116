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
from tasks.distillation.ensemble import saved_weights
from tasks.gates.evaluation_set import EvaluationSet
from tasks.problems.base import Score

BATCHES, ROUNDS = (1, 64), 10
TEACHERS = "teachers"


def files_of(night: Night) -> Mapping[str, Path]:
    """Return the ONNX file of each model of a night, by role and name."""
    artifacts, run = night.context.artifacts, night.context.run
    places = [("teacher", name, f"teachers/{name}/teacher.onnx") for name in run.teachers]
    places += [("student", name, f"students/{name}/student.onnx") for name in run.students]
    places += [("candidate", name, f"candidates/{name}/model.onnx") for name in run.recipes]
    found = {f"{role} {name}": artifacts / place for role, name, place in places}
    return {name: path for name, path in found.items() if path.is_file()}


def measured(night: Night) -> dict[str, Any]:
    """Run the night up to its verdict, and return the record of its models on test rows."""
    verdict = night.judge()
    dataset, artifacts, run = night.dataset(), night.context.artifacts, night.context.run
    evaluation = EvaluationSet(night.problem, dataset)
    paths = files_of(night)
    files = {name: path.read_bytes() for name, path in paths.items()}
    outputs = {name: evaluation.run(data) for name, data in files.items()}
    sizes = {name: {"bytes": len(data), "parameters": _parameters(paths[name])} for name, data in files.items()}
    times: dict[str, dict[str, float]] = {name: {} for name in files}
    for batch in BATCHES:
        beside = Beside([*files.values()], evaluation.sample, batch, threads=1, least=1)
        for name, latency in zip(files, beside.measure(ROUNDS), strict=True):
            times[name][str(batch)] = round(latency.p50_us, 1)
    members = [name for name in files if name.startswith("teacher ")]
    if len(members) > 1:  # together they are what a student learns from
        weights = saved_weights(night.problem, dataset, artifacts / "teachers", run.teachers, run.ensemble)
        together = {TEACHERS: night.problem.ensemble([outputs[name] for name in members], weights)}
        outputs = together | outputs
        sizes[TEACHERS] = {key: sum(sizes[name][key] for name in members) for key in ("bytes", "parameters")}
        times[TEACHERS] = {key: sum(times[name][key] for name in members) for key in map(str, BATCHES)}
    wrong = {name: output.argmax(axis=1) != evaluation.target for name, output in outputs.items()}
    lines = {name: _line(evaluation.score(output), sizes[name], times[name]) for name, output in outputs.items()}
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


def _parameters(model: Path) -> int:
    return int(read_json(model.parent / "about.json")["parameters"])


def _line(score: Score, sizes: Mapping[str, int], times: Mapping[str, float]) -> dict[str, Any]:
    return {"error": score.error, "log_loss": score.metrics["log_loss"], **sizes, "p50_us": times}


def differences(wrong: Mapping[str, NDArray[np.bool_]]) -> list[dict[str, Any]]:
    """Return how much more often than another each model is wrong, with the standard error over the same rows.

    Each is compared with the first, the teachers, and with the student `twin` if there is one.
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
