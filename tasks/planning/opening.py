"""This module opens a run: its date, parameters and champion are fixed once, before its first stage starts."""

import os
import secrets
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tasks.config.plugins import installed
from tasks.config.run import Run, parse_run
from tasks.config.workload import Workload, find_workload, load_workload, parsed
from tasks.core.approval import Answer
from tasks.core.errors import UsageError
from tasks.core.settings import Settings
from tasks.core.storage import require_fence
from tasks.pipeline.handover.checkout import checkout_commit
from tasks.pipeline.handover.lineage import begin_night
from tasks.pipeline.handover.run_store import RunStore
from tasks.releases.ledger import RUN_ID, Ledger


def yesterday(workload: Workload) -> date:
    """Return the last whole day in the workload's timezone: the default `as_of`."""
    return datetime.now(ZoneInfo(workload.timezone)).date() - timedelta(days=1)


def new_run_id(as_of: date) -> str:
    """Return a readable run_id for a run without one from an orchestrator: another for each in the same second."""
    return f"manual-{as_of}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def resolve(settings: Settings, name: str, as_of: date | None = None, *, dry_run: bool = False) -> Run:
    """Return the run.yaml of one workload tonight: its section, the date, and the ledger's last sequence number."""
    return _tonight(settings, name, load_workload(settings.params, name), as_of, dry_run=dry_run)


def _tonight(settings: Settings, name: str, workload: Workload, as_of: date | None, *, dry_run: bool) -> Run:
    last = Ledger(settings.releases(), name).last()
    return Run(
        **dict(workload),
        workload=name,
        as_of=as_of or yesterday(workload),
        champion=last.seq if last else 0,
        dry_run=dry_run,
        answer=shadow_first(workload) if last else None,  # a first release has nothing to stand beside
        plugins=installed(workload),
    )


def shadow_first(workload: Workload) -> Answer | None:
    """Return what is decided beforehand of the candidates of a workload with `shadow_nights`; None without."""
    nights = workload.shadow_nights
    if not nights:
        return None
    return Answer(
        decision="shadow", by="", reason=f"is released after {nights} night{'s' * (nights > 1)} in shadow alone"
    )


def open_run(
    settings: Settings, name: str, run_id: str, as_of: date | None = None, *, force: bool = False, dry_run: bool = False
) -> tuple[Run, bool]:
    """Open a run in the run store. Returns it, and False if it was open already (then nothing changes).

    Raises UsageError on a run_id that cannot be a key, ConfigError on a bad params.yaml, or when the run could promote
    but the release store cannot fence: better now than after hours of training.
    """
    if not RUN_ID.fullmatch(run_id):
        raise UsageError(f"run_id {run_id!r}: use letters, digits, '.', '_' and '-', at most 200")
    store = RunStore(settings.runs())
    if store.is_open(name, run_id):
        return parse_run(store.run_yaml(name, run_id)), False
    if not dry_run:
        require_fence(settings.releases())
    found = find_workload(settings.params, name)
    run = _tonight(settings, name, parsed(name, found), as_of, dry_run=dry_run)
    info = {
        "workload": name,
        "run_id": run_id,
        "as_of": run.as_of.isoformat(),
        "champion": run.champion,
        "force": force,
        "dry_run": dry_run,
        "parameters": {"file": found.file, "sha256": found.sha256},
        "git_commit": git_commit(settings.project),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.open_run(name, run_id, run.to_yaml(), info)
    begin_night(name, run_id)
    return run, True


def git_commit(project: Path) -> str:
    """Return the project's commit; from NIGHTSTILL_GIT_COMMIT where there is no checkout."""
    return os.environ.get("NIGHTSTILL_GIT_COMMIT") or checkout_commit(project)
