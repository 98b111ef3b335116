"""This module reads the results of runs for the command line."""

import json
from typing import Any

from tasks.core.errors import UsageError
from tasks.core.settings import Settings
from tasks.core.storage import open_store
from tasks.pipeline.handover.run_store import DataRemote, RunStore


def latest_run(store: RunStore, workload: str) -> dict[str, Any]:
    """Return run.json of the run opened last. Raises UsageError when there is none."""
    runs = store.runs(workload)
    if not runs:
        raise UsageError(f"no run of {workload} yet; start one with `nightstill run {workload}`")
    return runs[-1]


def read_output(settings: Settings, workload: str, run_id: str, stage: str, path: str) -> bytes | None:
    """Return one file that a finished stage wrote, from the DVC remote; None if the stage has not finished."""
    store = RunStore(settings.runs())
    manifest = store.manifest(workload, run_id, stage)
    if manifest is None or not manifest.finished:
        return None
    return DataRemote(open_store(settings.dvc_remote)).read(store.lock(manifest), path)


def read_verdict(settings: Settings, workload: str, run_id: str) -> dict[str, Any] | None:
    """Return the verdict of a run, None if it did not come to one."""
    data = read_output(settings, workload, run_id, "evaluate", "artifacts/evaluation/verdict.json")
    return json.loads(data) if data else None


def read_outcome(settings: Settings, workload: str, run_id: str) -> dict[str, Any] | None:
    """Return promotion's outcome of a run, None if it did not come that far."""
    data = read_output(settings, workload, run_id, "promote", "artifacts/promotion/outcome.json")
    return json.loads(data) if data else None
