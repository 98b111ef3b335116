"""What the DAGs know of the project: its workloads and its pipeline.

Standard library, PyYAML and the modules of `tasks` that need no more than these.
"""

import os
import re
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tasks.core.params import PARAMS_FILE, Section, load_sections
from tasks.pipeline.graph import Graph, load_graph

ROOT = Path(os.environ.get("NIGHTSTILL_PROJECT") or Path(__file__).parents[1]).absolute()
HOME = Path(os.environ.get("NIGHTSTILL_HOME") or ROOT / ".nightstill").absolute()


def workloads() -> dict[str, Section]:
    """Sections of params.yaml by workload. The stages' environment validates them; here only their shape is."""
    return load_sections(ROOT / PARAMS_FILE)


def pipeline(section: Section) -> Graph:
    """The stages of one workload, from dvc.yaml."""
    return load_graph((ROOT / "dvc.yaml").read_text(), section)


def safe_run_id(run_id: str) -> str:
    """Airflow's run_id as a name in the run store: the same for every task and every retry of a run."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-.")[:200]


def default_as_of(moment: datetime, timezone: str) -> date:
    """The last whole day before `moment` in the workload's timezone."""
    return moment.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)


def release_uri(workload: str) -> str:
    """The asset that a promotion updates."""
    return f"nightstill://releases/{workload}"
