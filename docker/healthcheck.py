#!/opt/airflow/bin/python
"""Whether the Airflow component that this container runs is well: by Airflow's own health addresses."""

import json
import os
import sys
import urllib.request
from pathlib import Path

API = os.environ.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:8080/execution/")
SCHEDULER = "http://127.0.0.1:8974"
"""AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK, which the image sets, has the scheduler answer there."""
COMPONENTS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


def main() -> int:
    """0: well; anything else: not."""
    arguments = [argument for file in Path("/proc").glob("[0-9]*/cmdline") for argument in _arguments(file)]
    component = next((argument for argument in arguments if argument in COMPONENTS), "api-server")
    # The API server is asked where it is; it knows of the others by their heartbeats.
    api = "http://127.0.0.1:8080" if component == "api-server" else API.removesuffix("/").removesuffix("/execution")
    return int(not well(component, api, SCHEDULER))


def well(component: str, api: str, scheduler: str) -> bool:
    """Return whether a component is well. Raises OSError when nobody answers, or says that it is not."""
    if component == "scheduler":
        with urllib.request.urlopen(f"{scheduler}/health", timeout=10):  # noqa: S310 our own
            return True
    with urllib.request.urlopen(f"{api}/api/v2/monitor/health", timeout=10) as answer:  # noqa: S310 our own
        found = json.load(answer)
    return bool(found[COMPONENTS.get(component, "metadatabase")]["status"] == "healthy")


def _arguments(file: Path) -> list[str]:
    try:
        return file.read_text().split("\0")
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
