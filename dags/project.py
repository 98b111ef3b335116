"""This module gives the DAGs the project's workloads and its pipeline.

Standard library, PyYAML and the modules of `tasks` that need no more than these.
"""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tasks.core.params import SHOWN_SETTING, Section, params_place, shown
from tasks.pipeline.graph import Graph, load_graph

ROOT = Path(os.environ.get("NIGHTSTILL_PROJECT") or Path(__file__).parents[1]).absolute()
AS_OF = "{{ as_of(params, dag_run, triggering_asset_events) }}"
HOME = Path(os.environ.get("NIGHTSTILL_HOME") or ROOT / ".nightstill").absolute()


ASKED = HOME / "workloads.asked"
"""Names of workloads that `make run` was asked for, one a line: they have DAGs here from then on."""


def workloads() -> dict[str, Section]:
    """Return the sections that have DAGs, by workload: of params.yaml, of the setting and of what was asked for.

    The stages' environment validates them; here only their shape is.
    """
    asked = ASKED.read_text().split() if ASKED.is_file() else ()
    return shown(params_place(ROOT), os.environ.get(SHOWN_SETTING, ""), asked)


def pipeline(section: Section) -> Graph:
    """Return the stages of one workload, from dvc.yaml."""
    return load_graph((ROOT / "dvc.yaml").read_text(), section)


def safe_run_id(run_id: str) -> str:
    """Return Airflow's run_id as a name in the run store: the same for every task and every retry of a run."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-.")[:200]


def default_as_of(moment: datetime, timezone: str) -> date:
    """Return the last whole day before `moment` in the workload's timezone."""
    return moment.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)


def as_of(params: Mapping[str, Any], dag_run: Any, events: Mapping[Any, Sequence[Any]], timezone: str) -> str:
    """Return the last day of data of a DAG run: a typed one, else that of a triggering asset event, else the default.

    `events`: of each asset; of several days the last, because the newest data are wanted. Raises ValueError
    on an event whose `as_of` is no day.
    """
    told = [str(event.extra["as_of"]) for some in events.values() for event in some if event.extra.get("as_of")]
    days = [date.fromisoformat(day) for day in told]
    default = default_as_of(dag_run.logical_date or dag_run.run_after, timezone)
    return str(params.get("as_of") or max(days, default=default).isoformat())


def release_uri(workload: str) -> str:
    """Return the asset that a promotion updates."""
    return f"nightstill://releases/{workload}"


def forecasts_uri(workload: str) -> str:
    """Return the asset that a night's kept forecasts update."""
    return f"nightstill://forecasts/{workload}"
