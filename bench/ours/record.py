"""This module measures teachers, twin, student and released file of one set, in the same records as peers."""

import resource
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.metrics import score
from bench.ours.adapt import forecasts_of
from bench.ours.nights import Night, released, run_night
from bench.pairs import cells_of
from bench.sets import BenchSet, load
from tasks.compression.runtime import OnnxModel
from tasks.core.errors import DataError
from tasks.distillation.ensemble import saved_weights
from tasks.problems import get_problem
from tasks.problems.base import Floats, Inputs

SINGLE_CALLS = 300
MODELS = ("teacher", "twin", "student", "released")


def records(name: str, seed: int, threads: int, models: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return one record for each of MODELS, whose files go below `models`.

    Peak memory is the process's own. Seconds are of the processor, all threads together: other work on the machine does
    not count.
    """
    data = load(name)
    with TemporaryDirectory(prefix="nightstill-bench-") as folder:
        night = run_night(data.sealed(), seed, threads, Path(folder), say)
        return [_record(data, night, model, seed, threads, models) for model in MODELS]


def _record(data: BenchSet, night: Night, model: str, seed: int, threads: int, models: Path) -> dict[str, Any]:
    members, about, seconds = _files(night, model)
    folder = models / f"{data.name}-{seed}" / model
    shutil.rmtree(folder, ignore_errors=True)  # what another choice of recipe left there would be timed too
    folder.mkdir(parents=True)
    for name, content in members.items():
        (folder / f"{name}.onnx").write_bytes(content)
    call = Ensemble(night, members, threads)
    begun = time.process_time()
    forecasts = forecasts_of(night.windows, data, call.run, call.names)
    predicted = time.process_time() - begun
    rows = night.windows.splits["test"]
    return {
        "set": data.name,
        "peer": model,
        "seed": seed,
        "metric": data.metric,
        "errors": score(data, forecasts),
        "cells": cells_of(data, forecasts),
        "valid_error": about.get("valid_error"),
        "parameters": about["parameters"],
        "nonzero": about.get("nonzero"),
        "bytes": sum(len(member) for member in members.values()),
        "train_seconds": sum(seconds.values()),
        "predict_seconds": predicted,
        "rows": len(rows),
        "rows_per_second": {"full": len(rows) / predicted, "batch_1": 1 / _single(night, call)},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "settings": about.get("settings", {}),
        "seconds": seconds,
        "chosen_on": "validation",
        "threads": threads,
    }


def _files(night: Night, model: str) -> tuple[dict[str, bytes], dict[str, Any], dict[str, float]]:
    """Return the model's ONNX files, their known facts, and the stages that led to them."""
    run, seconds = night.run, night.seconds
    taught = {f"teach@{name}": seconds[f"teach@{name}"] for name in run.teachers}
    if model == "teacher":
        names = counted(night)
        files = {name: (night.artifacts / "teachers" / name / "teacher.onnx").read_bytes() for name in names}
        abouts = [night.about("teachers", name) for name in names]
        settings = {name: about["valid_error"] for name, about in zip(names, abouts, strict=True)}
        return files, {"parameters": sum(about["parameters"] for about in abouts), "settings": settings}, taught
    if model == "released":
        return _released(night, taught)
    name = _distilled(night) if model == "student" else model
    about = night.about("students", name)
    file = (night.artifacts / "students" / name / "student.onnx").read_bytes()
    distilled = {f"distil@{name}": seconds[f"distil@{name}"]}
    about = {**about, "settings": {"kind": run.students[name].model.kind}}
    return {name: file}, about, distilled if model == "twin" else {**taught, **distilled}


def counted(night: Night) -> list[str]:
    """Return the teachers with a weight in the ensemble: what the others take is no part of what a student replaces."""
    names, folder = sorted(night.run.teachers), night.artifacts / "teachers"
    weights = saved_weights(get_problem(night.run.problem), night.windows, folder, names, night.run.ensemble)
    return [name for name, weight in zip(names, weights or [1.0] * len(names), strict=True) if weight > 0]


def _distilled(night: Night) -> str:
    """Return the student of least validation error but for the twin."""
    errors = {name: night.about("students", name)["valid_error"] for name in night.run.students if name != "twin"}
    return min(errors, key=lambda name: errors[name])


def _released(night: Night, taught: Mapping[str, float]) -> tuple[dict[str, bytes], dict[str, Any], dict[str, float]]:
    """Return what `_files` does of the file that would be released, one that was trained again included."""
    chosen = released(night)
    if chosen.model is None:
        raise DataError(f"{night.run.workload}: no file is within the limits of its recipes; see the log")
    stages = [f"distil@{chosen.about['student']}", f"compress@{chosen.of or chosen.name}"]
    if chosen.of is not None:
        stages.append(f"refit@{chosen.name}")
    settings = {
        "recipe": chosen.of or chosen.name,
        "student": chosen.about["student"],
        "steps": chosen.about.get("steps") or chosen.about.get("search"),
        **({} if chosen.of is None else {"refit": chosen.name, "rows": chosen.about["rows"]}),
    }
    seconds = {**taught, **{stage: night.seconds[stage] for stage in stages}}
    return {chosen.name: chosen.model}, {**chosen.about, "settings": settings}, seconds


class Ensemble:
    """An ensemble runs the weighed members as one model."""

    def __init__(self, night: Night, members: Mapping[str, bytes], threads: int) -> None:
        self.problem = get_problem(night.run.problem)
        self.members = [OnnxModel(member, threads) for member in members.values()]
        self.names = tuple(sorted({name for member in self.members for name in member.names}))
        self.weights = None
        if len(members) > 1:
            folder, how = night.artifacts / "teachers", night.run.ensemble
            self.weights = saved_weights(self.problem, night.windows, folder, members, how)

    def run(self, inputs: Inputs) -> Floats:
        """Return the outputs of all rows."""
        if len(self.members) == 1:
            return self.members[0](inputs)
        return self.problem.ensemble((member(inputs) for member in self.members), self.weights)


def _single(night: Night, call: Ensemble) -> float:
    """Return the median seconds of one window of one series, features included."""
    row = night.windows.splits["test"][-1:]
    return _median_seconds(lambda: call.run(night.windows.inputs(row, call.names)), SINGLE_CALLS)


def _median_seconds(call: Callable[[], object], calls: int) -> float:
    times = []
    for _ in range(calls):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return median(times)
