"""The closing table: the last promoted night of a workload, as its manifests and its verdict tell it."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.closing import HEAD, last_promoted, line, verdict_of
from tasks.core.errors import UsageError
from tasks.core.storage import FolderStore
from tasks.pipeline.handover.manifest import Manifest
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.pruning import prune

VERDICT: dict[str, Any] = {
    "primary_metric": "rmse",
    "winner": "int8",
    "models": [
        {"name": "naive", "role": "naive", "error": 4.0},
        {"name": "ensemble", "role": "teacher", "error": 1.0, "bytes": 40_000, "parameters": 9000},
        {"name": "best", "role": "student", "error": 1.25},
        {"name": "other", "role": "student", "error": 9.0},
        {"name": "twin", "role": "twin", "error": 1.5},
        {"name": "fp32", "role": "candidate", "error": 1.3, "bytes": 999, "parameters": 99},
        {"name": "int8", "role": "candidate", "error": 1.375, "bytes": 1234, "parameters": 77},
    ],
}


def manifest(stage: str, seconds: float = 60.0, **summary: Any) -> Manifest:
    return Manifest(
        stage=stage, workload="homes", run_id="r1", status="done", reason="", cpu_seconds=seconds, summary=summary
    )


def test_a_line_has_the_first_student_the_winner_and_all_minutes_of_the_processor() -> None:
    found = {
        "snapshot": manifest("snapshot", rows=5000),
        "teach@a": manifest("teach@a", 90.0),
        "evaluate": manifest("evaluate", latency_ratio=1.24),
    }
    told = line(found, VERDICT)
    assert told == "| `homes` | rmse | 5,000 | 4 | 1 | 1.5 | 1.25 | 1.375 | 1,234 | 40,000 | 77 | 9,000 | 1.2 | 3.5 |"
    assert HEAD.splitlines()[0].count("|") == told.count("|")
    reused = found | {"teach@a": found["teach@a"].model_copy(update={"status": "reused"})}
    assert line(reused, VERDICT).endswith("| 1.2 | – |"), "what a former night took is not known to this one"


def test_a_pruned_release_is_a_line_of_dashes(releases: Any) -> None:
    for text in ("one", "two", "three", "four"):
        releases.promote(text, **{"verdict.json": json.dumps(VERDICT).encode()})
    prune(releases, 1)
    assert verdict_of(releases, 4) == VERDICT and verdict_of(releases, 1) == {}
    found = {"snapshot": manifest("snapshot", rows=5000), "evaluate": manifest("evaluate", latency_ratio=1.24)}
    told = line(found, verdict_of(releases, 1))
    assert told == f"| `homes` | – | 5,000{' | –' * 9} | 1.2 | 2.0 |" and told.count("|") == HEAD.splitlines()[0].count(
        "|"
    )


def test_the_last_night_that_was_promoted_counts(tmp_path: Path) -> None:
    runs = RunStore(FolderStore(tmp_path))
    for run_id, outcome in (("r1", "promoted"), ("r2", "promoted"), ("r3", "rejected")):
        runs.open_run("homes", run_id, "", {"created": run_id, "run_id": run_id})
        promote = manifest("promote", outcome=outcome).model_copy(update={"run_id": run_id})
        (tmp_path / "runs/homes" / run_id / "promote.json").write_text(json.dumps(promote.model_dump()))
    assert last_promoted(runs, "homes")["promote"].run_id == "r2"
    with pytest.raises(
        UsageError, match=r"gone: no night of it was promoted here; start one \(`nightstill run gone`\)"
    ):
        last_promoted(runs, "gone")
