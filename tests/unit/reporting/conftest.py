"""A whole run's artifacts with made-up but plausible numbers, as the stages write them."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.config.run import Run, parse_run
from tasks.pipeline.handover.manifest import Manifest
from tasks.reporting.collect import Material

GATES = (
    ("runs", "runs in ONNX Runtime and gives finite numbers of the contract's shape", None, None),
    ("accuracy/absolute", "error at most 0.9", 0.4213, 0.9),
    ("accuracy/naive", "error at least 0.1 below the naive baseline's, relatively", 0.4213, 0.5131),
    ("accuracy/teacher", "error at most 1.02 times the teachers'", 0.4213, 0.4299),
    ("accuracy/champion", "upper bound of the relative difference to the champion at most 0.02", -0.0041, 0.02),
    ("segments/department", "no department worse than under the champion by more than 0.1, relatively", 0.031, 0.1),
    ("size", "at most 262,144 bytes", 41873, 262144),
    ("latency/p50", "p50 at most 20 times the reference model's at batch 1 with 1 thread", None, 20.0),
    ("parity", "mean difference at most 0.01 of the mean output", 0.00031, 0.01),
    ("robustness/noise", "error under noise of level 0.1 at most 1.15 times the clean error", 1.0312, 1.15),
)
CANDIDATES = {
    "fp16": (0.4213, 41873, 18.4),
    "fp32": (0.4212, 81210, 14.1),
    "chain": (0.4251, 30112, 17.0),
    "magnitude": (0.4240, 81090, 14.2),
    "neurons": (0.4266, 47310, 13.0),
    "int8-dynamic": (0.4312, 33870, 41.0),
    "int8-static": (0.9120, 39020, 33.0),
}


def _gates() -> list[dict[str, Any]]:
    rows = []
    for name, (error, _, _) in CANDIDATES.items():
        for gate, rule, seen, limit in GATES:
            passed = not (name == "int8-static" and gate.startswith("accuracy")) and not (
                name == "int8-dynamic" and gate in ("accuracy/teacher", "latency/p50")
            )
            shown = error if gate.startswith("accuracy") and gate != "accuracy/champion" else seen
            note = "naive 0.5701" if gate == "accuracy/naive" else ""
            rows.append(
                {
                    "gate": gate,
                    "candidate": name,
                    "passed": passed,
                    "observed": shown,
                    "limit": limit,
                    "rule": rule,
                    "note": note,
                }
            )
    return rows


def _models() -> list[dict[str, Any]]:
    def row(name: str, role: str, error: float | None, parameters: int | None, size: int | None) -> dict[str, Any]:
        metrics = {} if error is None else {"pinball": round(error * 2.11, 4), "rmse": round(error * 33, 2)}
        return {
            "name": name,
            "role": role,
            "error": error,
            "metrics": metrics,
            "parameters": parameters,
            "bytes": size,
            "valid_error": error,
        }

    rows = [row("naive", "naive", 0.5701, None, None), row("ensemble", "teacher", 0.4215, 731204, 2948211)]
    rows += [row("student", "student", 0.4212, 19884, 79800), row("twin", "twin", None, 19884, 79800)]
    rows += [row(f"popularity, {days} days", "baseline", 0.58, None, None) for days in (7, 28)]
    rows.append(row("entry 3", "champion", 0.4262, None, 41870))
    return rows + [row(name, "candidate", error, 19884, size) for name, (error, size, _) in CANDIDATES.items()]


def _examples() -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    found = []
    for title, level in (
        ("367/GROCERY", 420.0),
        ("406/PRODUCE", 88.0),
        ("31862/DELI", 17.0),
        ("<script>alert(1)</script>", 3),
    ):
        week = 1 + 0.35 * np.sin(np.arange(70) * 2 * math.pi / 7) + 0.15 * np.sin(np.arange(70) / 9)
        truth = random.poisson(level * week)
        ahead = level * week[42:]

        def line(values: Any) -> list[float]:
            return [round(float(value), 2) for value in values]

        found.append(
            {
                "title": title,
                "dates": [f"2026-11-{day:02d}" if day <= 30 else f"2026-12-{day - 30:02d}" for day in range(20, 48)],
                "past": line(truth[:42]),
                "actual": line(truth[42:]),
                "curves": {
                    "candidate": line(ahead * 1.02),
                    "teacher": line(ahead * 0.97),
                    "naive": line(truth[35:42].tolist() * 4),
                    "champion": line(ahead * 1.08),
                },
                "low": line(ahead - 1.3 * np.sqrt(ahead)),
                "high": line(ahead + 1.5 * np.sqrt(ahead)),
            }
        )
    return found


def _latency() -> dict[str, Any]:
    def row(model: str, batch: int, p50: float) -> dict[str, Any]:
        return {
            "model": model,
            "batch": batch,
            "p50_us": p50,
            "p95_us": round(p50 * 1.2, 2),
            "ratio_p50": round(p50 / 24, 2),
            "ratio_p95": round(p50 / 22, 2),
            "reference_p50_us": 24.0,
        }

    gated = [row(name, 1, p50) for name, (_, _, p50) in CANDIDATES.items()]
    times = {name: p50 for name, (_, _, p50) in CANDIDATES.items()} | {"teacher lstm": 2210.0, "teacher tcn": 1480.0}
    alone = [row(name, batch, p50 * (1 if batch == 1 else 210)) for name, p50 in times.items() for batch in (1, 1024)]
    machine = {"processor": "Xeon", "cores": 2, "system": "Linux x86_64", "onnxruntime": "1.31.1", "python": "3.11.2"}
    return {"machine": machine, "threads": 1, "rounds": 30, "gates": gated, "models": alone}


def _losses(folds: int, epochs: int) -> list[dict[str, Any]]:
    return [
        {
            "train": [round(0.3 + math.exp(-epoch / 3) + 0.01 * fold, 4) for epoch in range(epochs)],
            "valid": [round(0.36 + math.exp(-epoch / 3) + 0.02 * fold + 0.004 * epoch, 4) for epoch in range(epochs)],
            "best": epochs - 2,
        }
        for fold in range(folds)
    ]


def _check(column: str, rule: str, expected: str, observed: str | float, success: bool = True) -> dict[str, Any]:
    sample = [] if success else [{"date": "2026-11-03", "series_id": "367/GROCERY", "units": "-14.0"}]
    return {
        "column": column,
        "rule": rule,
        "expected": expected,
        "observed": observed,
        "success": success,
        "count": 0 if success else 41,
        "sample": sample,
    }


VALID: dict[str, Any] = {
    "success": True,
    "checks": [
        _check("units", "values at most 5000", "0 rows", 0),
        _check("table", "newest day", ">= 2026-11-20", "2026-11-20"),
    ],
}
INVALID = {
    "success": False,
    "checks": [_check("units", "values at least 0", "0 rows", 41, success=False), *VALID["checks"]],
}
LATENCY = _latency()
STAGES = (
    *("snapshot", "validate", "features", "teach@lstm", "teach@tcn", "distil@student", "distil@twin"),
    *(f"compress@{name}" for name in CANDIDATES),
    *("evaluate", "promote", "report"),
)


def write_artifacts(folder: Path) -> None:
    """Everything that a run leaves when it goes well."""
    history = [{"step": "student", "error": 0.401, "bytes": 81210}]
    files: dict[str, Any] = {
        "snapshot/about.json": {
            "source": "complete-journey",
            "rows": 118240,
            "entities": 301,
            "first_date": "2025-10-26",
            "last_date": "2026-12-18",
            "mean_target": 21.37,
            "as_of": "2026-11-20",
            "notes": ["Complete Journey: simulated from real shopping patterns, by its authors' account."],
            "shift_weeks": 463,
        },
        "validation/result.json": VALID,
        "evaluation/verdict.json": {
            "verdict": "promote",
            "winner": "fp16",
            "winner_sha256": "9f" * 32,
            "reason": "fp16 passes all 10 gates",
            "champion": 3,
            "primary_metric": "wape",
            "rows": 903,
            "gates": _gates(),
            "models": _models(),
            "comparison": {
                "candidate": "fp16",
                "error": 0.4213,
                "naive": _comparison(-0.261, 0.5701),
                "teacher": _comparison(-0.0005, 0.4215),
                "champion": _comparison(-0.0115, 0.4262),
            },
        },
        "evaluation/segments.json": [
            {
                "column": column,
                "value": value,
                "rows": 120,
                "error": error,
                "champion": 0.43,
                "change": error / 0.43 - 1,
                "passed": error < 0.473,
            }
            for column, values in {"department": ("GROCERY", "DELI", "PRODUCE"), "store_id": ("367", "406")}.items()
            for value, error in zip(values, (0.39, 0.44, 0.48), strict=False)
        ],
        "evaluation/examples.json": _examples(),
        "promotion/outcome.json": {
            "outcome": "promoted",
            "reason": "fp16 passes all 10 gates and is not worse than ledger entry 3",
            "entry": 4,
            "release": 4,
            "candidate": "fp16",
            "model_sha256": "9f" * 32,
        },
        "teachers/lstm/history.json": _losses(2, 11),
        "teachers/tcn/history.json": _losses(2, 9),
        "students/student/history.json": _losses(1, 20)[0],
        "students/student/about.json": {"valid_error": 0.401, "alpha": 0.5, "parameters": 19884, "bytes": 79800},
        "students/twin/about.json": {"valid_error": 0.409, "alpha": 1.0, "parameters": 19884, "bytes": 79800},
        "students/twin/history.json": _losses(1, 18)[0],
    }
    for name, (error, size, _) in CANDIDATES.items():
        steps = [] if name == "fp32" else [{"step": name, "error": error - 0.02, "bytes": size}]
        files[f"candidates/{name}/about.json"] = {
            "student": "student",
            "parameters": 19884,
            "nonzero": 19884,
            "bytes": size,
            "history": history + steps,
            "parity": {"max_abs": 0.1, "mean_abs": 0.01, "relative": 0.00031},
        }
    for path, data in files.items():
        write_json(folder / path, data)


def _comparison(difference: float, error: float) -> dict[str, Any]:
    return {
        "difference": difference,
        "low": difference - 0.008,
        "high": difference + 0.008,
        "confidence": 0.95,
        "resamples": 1000,
        "groups": 301,
        "error": error,
    }


def write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def manifest(stage: str, status: Any = "done", **fields: Any) -> Manifest:
    return Manifest(
        stage=stage, workload="sales", run_id="night-1", status=status, **{"reason": "inputs changed: data", **fields}
    )


def manifests() -> dict[str, Manifest]:
    """One a stage; the longest trains."""
    times = {"teach@lstm": 61.2, "teach@tcn": 48.0, "distil@student": 21.7, "evaluate": 12.9}
    found = {
        stage: manifest(stage, seconds=times.get(stage, 3.4), peak_memory_mb=610.0 if "@" in stage else 340.0)
        for stage in STAGES[:-1]
    }
    reason = "command, parameters and inputs equal those of run night-0"
    found["snapshot"] = manifest(
        "snapshot", "reused", reason=reason, reused_from="night-0", seconds=0.6, peak_memory_mb=120.0
    )
    return found


@pytest.fixture(scope="session")
def run() -> Run:
    """A run.yaml with two teachers, a student, its twin and seven recipes."""
    import yaml

    section = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())["workloads"]["sales"]
    section["recipes"] = {name: {} for name in CANDIDATES}
    lstm = section["teachers"]["lstm"]
    section["teachers"] = {"lstm": lstm, "tcn": {**lstm, "model": {"kind": "tcn"}}}
    return parse_run(yaml.safe_dump({**section, "workload": "sales", "as_of": "2026-11-20", "champion": 3}))


Night = Callable[..., Material]


@pytest.fixture
def night(run: Run, tmp_path: Path) -> Night:
    """Makes the material of a run that went well; keyword arguments replace parts of it."""

    def make(**parts: Any) -> Material:
        write_artifacts(tmp_path / "artifacts")
        lineage: Mapping[str, str] = {"git commit": "ea858fa0c1", "lock of evaluate": "3c" * 32}
        defaults = {
            "run": run,
            "artifacts": tmp_path / "artifacts",
            "run_id": "night-1",
            "stages": STAGES,
            "manifests": manifests(),
            "pages": {("evaluate", "latency.json"): json.dumps(LATENCY).encode()},
            "lineage": lineage,
        }
        return Material(**{**defaults, **parts})

    return make


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Makes a manifest of one stage."""
    return manifest


@pytest.fixture
def invalid() -> bytes:
    """validation.json of a snapshot with negative sales."""
    return json.dumps(INVALID).encode()


@pytest.fixture
def failed_validation(run: Run, tmp_path: Path, invalid: bytes) -> Material:
    """A run that stopped at validate: of its artifacts only the snapshot is there."""
    error = "validate: 1 of 3 expectations failed; units: values at least 0: observed 41"
    found = {"snapshot": manifest("snapshot"), "validate": manifest("validate", "failed", error=error, exit_code=65)}
    return Material(
        run=run,
        artifacts=tmp_path / "empty",
        run_id="night-1",
        stages=STAGES,
        manifests=found,
        pages={("validate", "validation.json"): invalid},
    )
