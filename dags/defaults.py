"""The tasks of every DAG share these defaults: an owner, retries, and a message to operations after the last."""

from datetime import timedelta
from typing import Any

from dags.notify import OpsNotifier
from tasks.core.params import Section


def task_defaults(workload: str, section: Section, retries: int = 3) -> dict[str, Any]:
    """Return `default_args` of a workload's DAG: waits of 1, 2, 4 … at most 20 minutes between tries."""
    return {
        "owner": section.get("owner", "ml-platform"),
        "on_failure_callback": OpsNotifier(event="failed", workload=workload),
        "retries": retries,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=20),
    }
